-- The configuration of the Neovim under test: the plugin from this repository, and what the tests look at.
local here = vim.fn.fnamemodify(debug.getinfo(1, "S").source:sub(2), ":p:h")
vim.opt.runtimepath:prepend(vim.fs.normalize(here .. "/../../../editors/neovim"))
vim.cmd.runtime("plugin/midword.lua")

local options = vim.json.decode(table.concat(vim.fn.readfile(vim.env.MIDWORD_TEST_OPTIONS), "\n"))

-- What the server said of its work, and what the editor sent.
_G.usage, _G.sent = {}, {}
options.client = vim.tbl_extend("force", options.client or {}, {
  handlers = {
    ["midword/usage"] = function(_, note)
      table.insert(_G.usage, note)
    end,
  },
})
local start = vim.lsp.rpc.start
vim.lsp.rpc.start = function(...)
  local rpc = start(...)
  for _, kind in ipairs({ "notify", "request" }) do
    local send = rpc[kind]
    rpc[kind] = function(method, params, ...)
      table.insert(_G.sent, { method = method, params = params })
      return send(method, params, ...)
    end
  end
  return rpc
end

_G.statuses = {}
vim.api.nvim_create_autocmd("User", {
  pattern = "MidwordStatus",
  callback = function()
    table.insert(_G.statuses, require("midword").status())
  end,
})
vim.ui.open = function(path)
  _G.opened = path
end
vim.o.statusline = "%f %=%{v:lua.require'midword'.status()}"
vim.o.laststatus = 2
require("midword").setup(options)
