-- The texts offered at the cursor: asked for, followed while the user types along, taken.
local client_of = require("midword.client")
local ghost = require("midword.ghost")
local text_of = require("midword.text")

local M = {}

local AUTOMATIC, INVOKED = 2, 1

---@class midword.Offer
---@field buf integer
---@field row integer where the texts start, from 0
---@field col integer byte column
---@field behind string the rest of the line behind that place
---@field last_lines integer lines of the buffer below it
---@field items table[] as the server sent them
---@field texts string[] their texts, lines separated by "\n"
---@field index integer which one is shown
---@field typed integer bytes of it that are in the buffer already

---@type midword.Offer?
local offer
---@type { client: vim.lsp.Client, id: integer?, place: table }?
local asked

local function cursor()
  local row, col = unpack(vim.api.nvim_win_get_cursor(0))
  return row - 1, col
end

local function place_now()
  local buf = vim.api.nvim_get_current_buf()
  local row, col = cursor()
  return { buf = buf, tick = vim.api.nvim_buf_get_changedtick(buf), row = row, col = col }
end

local function is_inserting()
  return vim.startswith(vim.api.nvim_get_mode().mode, "i") and vim.fn.reg_executing() == ""
end

local function lines_below(buf, row)
  return vim.api.nvim_buf_line_count(buf) - row
end

local function behind(buf, row, col)
  return vim.api.nvim_buf_get_text(buf, row, col, row, -1, {})[1]
end

--- What of the current text is not in the buffer yet.
local function rest()
  return offer and offer.texts[offer.index]:sub(offer.typed + 1) or ""
end

local function draw()
  local row, col = cursor()
  ghost.show(offer.buf, row, col, rest())
end

local function drop_offer()
  if offer then
    ghost.clear(offer.buf)
    offer = nil
  end
end

local function drop_request()
  if asked and asked.id then
    client_of.cancel(asked.client, asked.id)
  end
  asked = nil
end

--- The text between the offer's place and the cursor; nil if anything else has changed.
local function typed_along()
  local buf = vim.api.nvim_get_current_buf()
  local row, col = cursor()
  if buf ~= offer.buf or row < offer.row or (row == offer.row and col < offer.col) then
    return nil
  end
  if lines_below(buf, row) ~= offer.last_lines or behind(buf, row, col) ~= offer.behind then
    return nil
  end
  local lines = vim.api.nvim_buf_get_text(buf, offer.row, offer.col, row, col, {})
  return table.concat(lines, "\n")
end

--- Keeps the offer in step with what the user typed of it; drops it if it was something else.
local function follow()
  local typed = offer and typed_along()
  if not typed then
    return drop_offer()
  end
  for step = 0, #offer.texts - 1 do
    local index = (offer.index - 1 + step) % #offer.texts + 1
    local text = offer.texts[index]
    if #text > #typed and vim.startswith(text, typed) then
      offer.index, offer.typed = index, #typed
      return draw()
    end
  end
  drop_offer()
end

--- The items whose place is the cursor; another place would show what is not inserted.
local function usable(items, place, client)
  local line = vim.api.nvim_buf_get_lines(place.buf, place.row, place.row + 1, true)[1]
  return vim.tbl_filter(function(item)
    local start = item.range.start
    local byte_column = text_of.byte_column(line, start.character, client.offset_encoding)
    return item.insertText ~= "" and start.line == place.row and byte_column == place.col
  end, items)
end

local function new_offer(items, place)
  local fileformat = vim.bo[place.buf].fileformat
  return {
    buf = place.buf,
    row = place.row,
    col = place.col,
    behind = behind(place.buf, place.row, place.col),
    last_lines = lines_below(place.buf, place.row),
    items = items,
    texts = vim.tbl_map(function(item)
      return text_of.from_server(item.insertText, fileformat)
    end, items),
    index = 1,
    typed = 0,
  }
end

local function show_answer(result, place, client)
  local shown = rest()
  local items = usable(result and result.items or {}, place, client)
  drop_offer()
  if #items == 0 then
    return
  end
  offer = new_offer(items, place)
  for index, text in ipairs(offer.texts) do
    offer.index = text == shown and index or offer.index
  end
  draw()
  if rest() ~= shown then
    client_of.notify(client, "textDocument/didShowCompletion", { item = items[offer.index] })
  end
end

--- Asks the server what follows at the cursor. A newer request cancels the older one.
local function ask(trigger_kind)
  local place = place_now()
  local client = client_of.of(place.buf)
  if client == nil then
    return
  end
  if asked and trigger_kind == AUTOMATIC and vim.deep_equal(asked.place, place) then
    return
  end
  drop_request()
  local request = { client = client, place = place }
  asked = request
  local params = vim.lsp.util.make_position_params(0, client.offset_encoding)
  params.context = { triggerKind = trigger_kind }
  request.id = client_of.request(client, "textDocument/inlineCompletion", params, function(result)
    if asked ~= request then
      return
    end
    request.id = nil
    if is_inserting() and vim.deep_equal(place_now(), place) then
      show_answer(result, place, client)
    end
  end, place.buf)
end

--- The text or the cursor has moved.
function M.update()
  if is_inserting() and client_of.of(vim.api.nvim_get_current_buf()) then
    follow()
    ask(AUTOMATIC)
  end
end

--- Asks by hand, which is answered even where the server saves power.
function M.complete()
  ask(INVOKED)
end

--- Forgets what is shown and what was asked.
function M.dismiss()
  drop_request()
  drop_offer()
end

---@return boolean
function M.is_visible()
  return offer ~= nil
end

--- Shows another of the texts that go on from what was typed.
---@param step integer 1 or -1
function M.cycle(step)
  if not offer then
    return
  end
  local typed = offer.texts[offer.index]:sub(1, offer.typed)
  local index = offer.index
  repeat
    index = (index - 1 + step) % #offer.texts + 1
  until #offer.texts[index] > #typed and vim.startswith(offer.texts[index], typed)
  if index ~= offer.index then
    offer.index = index
    draw()
    local client = client_of.of(offer.buf)
    client_of.notify(client, "textDocument/didShowCompletion", { item = offer.items[index] })
  end
end

--- Inserts at the cursor exactly this text, as an undo step of its own.
local function insert(text)
  local buf = vim.api.nvim_get_current_buf()
  local row, col = cursor()
  local lines = vim.split(text, "\n", { plain = true })
  vim.bo[buf].undolevels = vim.bo[buf].undolevels -- ends the undo step before it
  vim.api.nvim_buf_set_text(buf, row, col, row, col, lines)
  local end_col = #lines[#lines] + (#lines == 1 and col or 0)
  vim.api.nvim_win_set_cursor(0, { row + #lines, end_col })
end

local function tell_partly_accepted(client, item, taken)
  local params = { item = item, acceptedLength = text_of.utf16_units(taken) }
  client_of.notify(client, "textDocument/didPartiallyAcceptCompletion", params)
end

--- Takes a part of what is shown.
---@param part fun(text: string): string the head of a text
function M.accept(part)
  if not offer then
    return
  end
  local buf, item, text = offer.buf, offer.items[offer.index], offer.texts[offer.index]
  local taken_before, head = offer.typed, part(rest())
  local client = client_of.of(buf)
  drop_request()
  insert(head)
  if taken_before + #head < #text then
    follow()
    tell_partly_accepted(client, item, text:sub(1, taken_before + #head))
    return
  end
  drop_offer()
  if item.command then
    client_of.execute(client, item.command.command, item.command.arguments, buf)
  end
end

return M
