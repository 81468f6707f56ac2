-- What the user may set, checked once in setup().
local M = {}

M.defaults = {
  -- The server's command line.
  cmd = { "midword", "lsp", "--stdio" },
  -- Whether completion is on when Neovim starts; `:Midword toggle` switches it.
  enabled = true,
  -- By filetype; "*" stands for all that are not named.
  filetypes = { ["*"] = true, gitcommit = false, gitrebase = false, help = false },
  -- Buffers with more bytes are left alone.
  max_bytes = 1024 * 1024,
  -- A buffer belongs to the folder above it that holds one of these.
  root_markers = { ".git", "pyproject.toml", "package.json", "Cargo.toml", "go.mod" },
  -- The server's options, as in the README: maxTokens, maxLines, alternatives, …
  server = {},
  -- More fields for vim.lsp.start, such as on_attach or capabilities.
  client = {},
  -- true: Neovim's own vim.lsp.inline_completion shows the text (0.12 or newer).
  native = false,
  -- In insert mode. A key does what it did before while nothing is shown; false: no key.
  keymaps = {
    accept = "<Tab>",
    accept_word = "<M-w>",
    accept_line = "<M-l>",
    next = "<M-n>",
    previous = "<M-p>",
    dismiss = "<M-d>",
    complete = "<M-c>",
  },
}

M.values = vim.deepcopy(M.defaults)

local function check_names(known, given, where)
  for name, value in pairs(given) do
    local default = known[name]
    if default == nil then
      error(("midword: unknown option %s%s, see :help midword-options"):format(where, name), 0)
    end
    local is_switched_off = where == "keymaps." and value == false
    if type(value) ~= type(default) and not is_switched_off then
      local expected = type(default)
      error(("midword: option %s%s must be a %s"):format(where, name, expected), 0)
    end
  end
end

--- Takes over the user's options.
---@param options table?
function M.set(options)
  options = options or {}
  check_names(M.defaults, options, "")
  check_names(M.defaults.keymaps, options.keymaps or {}, "keymaps.")
  M.values = vim.tbl_deep_extend("force", M.defaults, options)
  M.values.cmd = options.cmd or M.defaults.cmd
  if M.values.native and vim.fn.has("nvim-0.12") == 0 then
    error("midword: option native needs Neovim 0.12 or newer; leave it out for this one", 0)
  end
end

return M
