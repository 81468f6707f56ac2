-- `:Midword ACTION`.
local M = {}

local function explain()
  require("midword").explain()
end

local actions = {
  enable = function(midword, scope)
    midword.enable(true, scope)
  end,
  disable = function(midword, scope)
    midword.enable(false, scope)
  end,
  toggle = function(midword, scope)
    midword.enable(not midword.is_enabled(scope), scope)
  end,
  status = function(midword)
    vim.notify(midword.status_sentence())
  end,
  restart = function(midword)
    midword.restart()
  end,
  explain = explain,
}

local function complete(_, line)
  local words = vim.split(line, "%s+", { trimempty = true })
  local is_scope = #words > 2 or (#words == 2 and line:match("%s$"))
  return is_scope and { "buffer" } or vim.fn.sort(vim.tbl_keys(actions))
end

local function run(command)
  local action, scope = unpack(command.fargs)
  if not actions[action] or (scope ~= nil and scope ~= "buffer") then
    vim.notify(
      "midword: expected :Midword "
        .. table.concat(vim.fn.sort(vim.tbl_keys(actions)), "|")
        .. " [buffer]",
      vim.log.levels.ERROR
    )
    return
  end
  actions[action](require("midword"), scope)
end

function M.set()
  vim.api.nvim_create_user_command("Midword", run, {
    nargs = "+",
    complete = complete,
    desc = "Code completion by midword",
  })
end

return M
