-- The keys of insert mode. While nothing is shown, each does what it did before.
local M = {}

--- What a key did before it was mapped, as an expression mapping returns it.
---@param lhs string
---@return fun(): string
function M.before(lhs)
  local mapping = vim.fn.maparg(lhs, "i", false, true)
  if vim.tbl_isempty(mapping) or mapping.buffer == 1 then
    return function()
      return lhs
    end
  elseif mapping.expr == 1 then
    return mapping.callback or function()
      return vim.api.nvim_eval(mapping.rhs)
    end
  elseif mapping.callback then
    return function()
      vim.schedule(mapping.callback)
      return ""
    end
  end
  return function()
    return mapping.rhs
  end
end

local function map(lhs, action, is_possible)
  local fallback = M.before(lhs)
  vim.keymap.set("i", lhs, function()
    if not is_possible() then
      return fallback()
    end
    return ("<Cmd>lua require('midword').%s()<CR>"):format(action)
  end, { expr = true, desc = "midword: " .. action:gsub("_", " ") })
end

--- Maps the keys of the options.
---@param keys table<string, string|false> action to key
---@param is_visible fun(): boolean
function M.set(keys, is_visible)
  for action, lhs in pairs(keys) do
    if lhs then
      local is_possible = action == "complete" and function()
        return true
      end or is_visible
      map(lhs, action, is_possible)
    end
  end
end

return M
