-- Which buffers are completed. Whatever is not costs nothing: no server, no message, no autocommand.
local config = require("midword.config")

local M = { enabled = true }

local function is_wanted(filetype)
  local wanted = config.values.filetypes[filetype]
  if wanted == nil then
    return config.values.filetypes["*"]
  end
  return wanted
end

--- Why a buffer gets no completion, in words for the user; nil if it does get one.
---@param buf integer
---@return string?
function M.reason_against(buf)
  if not M.enabled then
    return "switched off"
  end
  if vim.b[buf].midword_enabled == false then
    return "switched off for this buffer"
  end
  if vim.bo[buf].buftype ~= "" or not vim.bo[buf].modifiable then
    return "not an editable file"
  end
  if vim.api.nvim_buf_get_name(buf) == "" then
    return "the buffer has no file name"
  end
  if not is_wanted(vim.bo[buf].filetype) then
    return ("switched off for the filetype %q"):format(vim.bo[buf].filetype)
  end
  if
    vim.api.nvim_buf_get_offset(buf, vim.api.nvim_buf_line_count(buf)) > config.values.max_bytes
  then
    return ("larger than max_bytes (%d)"):format(config.values.max_bytes)
  end
end

return M
