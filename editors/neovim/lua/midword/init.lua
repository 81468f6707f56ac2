-- Completion as ghost text, by the language server of midword. See :help midword.
local client_of = require("midword.client")
local config = require("midword.config")
local eligible = require("midword.eligible")
local status = require("midword.status")
local suggestion = require("midword.suggestion")
local text_of = require("midword.text")

local M = {}

local function whole(text)
  return text
end

function M.accept()
  suggestion.accept(whole)
end

function M.accept_word()
  suggestion.accept(text_of.first_word)
end

function M.accept_line()
  suggestion.accept(text_of.first_line)
end

function M.next()
  suggestion.cycle(1)
end

function M.previous()
  suggestion.cycle(-1)
end

M.dismiss = suggestion.dismiss
M.complete = suggestion.complete
M.is_visible = suggestion.is_visible

--- Whether completion is switched on, everywhere or, with "buffer", in the current buffer.
---@param scope "buffer"?
---@return boolean
function M.is_enabled(scope)
  if scope == "buffer" then
    return vim.b.midword_enabled ~= false
  end
  return eligible.enabled
end

--- Switches completion on or off. While it is off everywhere, the server and the model do not run.
---@param is_on boolean
---@param scope "buffer"?
function M.enable(is_on, scope)
  suggestion.dismiss()
  local buf = vim.api.nvim_get_current_buf()
  if scope == "buffer" then
    vim.b[buf].midword_enabled = is_on
    local act = is_on and client_of.attach or client_of.detach
    act(buf)
  else
    eligible.enabled = is_on
    local act = is_on and client_of.start or client_of.stop
    act()
  end
  vim.cmd.redrawstatus({ bang = true })
end

--- A few words for the statusline of the current buffer.
---@return string
function M.status()
  local buf = vim.api.nvim_get_current_buf()
  return status.words(buf, client_of.state_of(buf))
end

--- The same as a sentence.
---@return string
function M.status_sentence()
  local buf = vim.api.nvim_get_current_buf()
  return status.sentence(buf, client_of.state_of(buf))
end

--- Starts the engine again, or the server if it does not run.
function M.restart()
  local buf = vim.api.nvim_get_current_buf()
  local client = client_of.of(buf)
  if client then
    client_of.execute(client, "midword.restart", {}, buf)
  else
    client_of.start()
  end
end

--- Opens a page that tells how the completion at the cursor comes about.
function M.explain()
  local buf = vim.api.nvim_get_current_buf()
  local client = client_of.of(buf)
  if not client then
    vim.notify(M.status_sentence(), vim.log.levels.WARN)
    return
  end
  local where = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local arguments = { { uri = where.textDocument.uri, position = where.position } }
  client_of.execute(client, "midword.explain", arguments, buf, function(result)
    if result then
      local page = vim.fn.tempname() .. ".html"
      vim.fn.writefile(vim.split(result.html, "\n", { plain = true }), page)
      vim.ui.open(page)
    end
  end)
end

local function attached(client, buf)
  client_of.tell_folder(client, buf)
  if buf == vim.api.nvim_get_current_buf() then
    client_of.tell_focus(client, buf)
  end
  if config.values.native then
    require("midword.native").enable(buf)
  else
    suggestion.update()
  end
end

local function set_autocommands()
  local group = vim.api.nvim_create_augroup("midword", {})
  local function on(events, callback)
    vim.api.nvim_create_autocmd(events, { group = group, callback = callback })
  end
  on({ "FileType", "BufEnter" }, function(event)
    client_of.attach(event.buf)
  end)
  on("BufEnter", function(event)
    local client = client_of.of(event.buf)
    if client then
      client_of.tell_focus(client, event.buf)
    end
  end)
  on("LspAttach", function(event)
    local client = client_of.of(event.buf)
    if client and client.id == event.data.client_id then
      attached(client, event.buf)
    end
  end)
  if config.values.native then
    return
  end
  on({ "TextChangedI", "TextChangedP", "CursorMovedI" }, suggestion.update)
  on("InsertEnter", vim.schedule_wrap(suggestion.update)) -- it comes before the mode has changed
  on({ "InsertLeave", "BufLeave", "WinLeave" }, suggestion.dismiss)
end

--- Starts completion in all eligible buffers, those that are open and those to come.
---@param options table? see :help midword-options
function M.setup(options)
  config.set(options)
  eligible.enabled = config.values.enabled
  set_autocommands()
  if config.values.native then
    require("midword.native").set_keys(config.values.keymaps)
  else
    require("midword.keymaps").set(config.values.keymaps, suggestion.is_visible)
  end
  client_of.start()
end

return M
