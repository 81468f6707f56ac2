-- What the server last said about itself, for statuslines.
local eligible = require("midword.eligible")

local M = { last = nil }

--- Lets statuslines be drawn again.
function M.announce()
  vim.schedule(function()
    vim.api.nvim_exec_autocmds("User", { pattern = "MidwordStatus", modeline = false })
    vim.cmd.redrawstatus({ bang = true })
  end)
end

--- Takes over the server's `didChangeStatus` (nil: there is no server).
---@param payload table?
function M.set(payload)
  M.last = payload
  M.announce()
end

local function of_server(payload)
  if payload.kind == "Error" or payload.kind == "Warning" then
    return "midword " .. payload.kind:lower()
  elseif payload.progress then
    return ("midword %d%%"):format(payload.progress)
  elseif payload.kind == "Inactive" then
    return payload.reason and ("midword off: " .. payload.reason) or "midword off"
  elseif payload.busy then
    return "midword …"
  end
  return payload.latencyMs and ("midword %d ms"):format(payload.latencyMs) or "midword"
end

--- A few words for the statusline of a buffer; empty for one that is not eligible.
---@param buf integer
---@param state "off"|"starting"|"attached" of the server
---@return string
function M.words(buf, state)
  local reason = eligible.reason_against(buf)
  if reason then
    return vim.startswith(reason, "switched off") and "midword off" or ""
  elseif state ~= "attached" and not (M.last and M.last.kind == "Error") then
    return "midword " .. state
  end
  return M.last and of_server(M.last) or "midword"
end

--- One sentence: the server's own message if there is one.
---@param buf integer
---@param state "off"|"starting"|"attached" of the server
---@return string
function M.sentence(buf, state)
  local reason = eligible.reason_against(buf)
  if reason then
    return "midword: " .. reason
  end
  local message = M.last and M.last.message or ""
  return message ~= "" and ("midword: " .. message) or M.words(buf, state)
end

return M
