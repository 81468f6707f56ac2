if vim.fn.has("nvim-0.10") == 0 then
  vim.notify("midword: Neovim 0.10 or newer is needed", vim.log.levels.WARN)
  return
end
require("midword.commands").set()
