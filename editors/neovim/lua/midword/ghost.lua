-- Draws ghost text: the first line behind the cursor, the others below it.
local text_of = require("midword.text")

local M = {}

local namespace = vim.api.nvim_create_namespace("midword")
vim.api.nvim_set_hl(0, "MidwordGhost", { link = "NonText", default = true })

local function chunks(line, start_column, tabstop)
  return { { text_of.expand_tabs(line, start_column, tabstop), "MidwordGhost" } }
end

-- Neovim does not scroll for virtual lines: at the end of a window they would be offered unseen.
local function make_room(count)
  local view = vim.fn.winsaveview()
  local missing = vim.fn.winline() + count - vim.api.nvim_win_get_height(0)
  if missing > 0 then
    view.topline = math.min(view.topline + missing, view.lnum)
    vim.fn.winrestview(view)
  end
end

--- Shows `text` at a place of the current window's buffer, instead of what was shown in it.
---@param buf integer
---@param row integer from 0
---@param col integer byte column
---@param text string lines separated by "\n"
function M.show(buf, row, col, text)
  M.clear(buf)
  local lines = vim.split(text, "\n", { plain = true })
  local tabstop = vim.bo[buf].tabstop
  local start_column =
    vim.fn.strdisplaywidth(vim.api.nvim_buf_get_text(buf, row, 0, row, col, {})[1])
  local below = {}
  for number = 2, #lines do
    below[#below + 1] = chunks(lines[number], 0, tabstop)
  end
  vim.api.nvim_buf_set_extmark(buf, namespace, row, col, {
    virt_text = chunks(lines[1], start_column, tabstop),
    virt_text_pos = "inline",
    virt_lines = #below > 0 and below or nil,
    hl_mode = "combine",
  })
  if #below > 0 then
    make_room(#below)
  end
end

---@param buf integer
function M.clear(buf)
  if vim.api.nvim_buf_is_valid(buf) then
    vim.api.nvim_buf_clear_namespace(buf, namespace, 0, -1)
  end
end

return M
