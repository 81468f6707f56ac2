-- Neovim's own client (0.12 or newer) shows the text; here are only its switch and its keys.
local keymaps = require("midword.keymaps")

local M = {}

---@param buf integer
function M.enable(buf)
  vim.lsp.inline_completion.enable(true, { bufnr = buf })
end

local function map_cycle(lhs, step)
  vim.keymap.set("i", lhs, function()
    vim.lsp.inline_completion.select({ count = step })
  end, { desc = "midword: another text" })
end

--- Maps the keys of the options that it has an action for.
---@param keys table<string, string|false> action to key
function M.set_keys(keys)
  if keys.accept then
    local fallback = keymaps.before(keys.accept)
    vim.keymap.set("i", keys.accept, function()
      return vim.lsp.inline_completion.get() and "" or fallback()
    end, { expr = true, desc = "midword: accept" })
  end
  if keys.next then
    map_cycle(keys.next, 1)
  end
  if keys.previous then
    map_cycle(keys.previous, -1)
  end
end

return M
