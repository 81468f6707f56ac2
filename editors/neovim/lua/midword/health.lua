-- :checkhealth midword
local client_of = require("midword.client")
local config = require("midword.config")
local eligible = require("midword.eligible")
local status = require("midword.status")

local M = {}
local health = vim.health

local function check_neovim()
  if vim.fn.has("nvim-0.10") == 1 then
    health.ok("Neovim " .. tostring(vim.version()))
  else
    health.error("Neovim 0.10 or newer is needed")
  end
end

local function check_program()
  local program = config.values.cmd[1]
  local path = vim.fn.exepath(program)
  if path == "" then
    health.error(("the program %q is not found"):format(program), {
      "install midword: pip install midword, in an environment of its own",
      'or name its place: require("midword").setup({ cmd = { "/path/to/midword", "lsp", "--stdio" } })',
    })
    return false
  end
  local run = vim.system({ path, "--version" }, { text = true }):wait(10000)
  if run.code ~= 0 then
    health.error(("%s --version ends with code %d: %s"):format(path, run.code, run.stderr))
    return false
  end
  health.ok(("%s (%s)"):format(vim.trim(run.stdout), path))
  return true
end

local function check_model()
  local path = vim.fn.exepath(config.values.cmd[1])
  local run = vim.system({ path, "models", "list", "--json" }, { text = true }):wait(10000)
  local is_read, models = pcall(vim.json.decode, run.stdout or "")
  if run.code ~= 0 or not is_read then
    health.warn("the models cannot be listed; try `midword doctor` in a terminal")
    return
  end
  local installed = vim.tbl_filter(function(model)
    return #model.pulled > 0
  end, models)
  if #installed == 0 then
    health.warn("no model is here yet", { "midword models pull" })
  else
    health.ok(("%d model(s) installed"):format(#installed))
  end
end

local function check_server()
  local clients = vim.lsp.get_clients({ name = "midword" })
  if #clients == 0 then
    health.info("the server does not run: no buffer is eligible, or completion is switched off")
  end
  for _, client in ipairs(clients) do
    local buffers = vim.tbl_count(client.attached_buffers)
    local what = "the server runs for %d buffer(s), positions in %s"
    health.ok(what:format(buffers, client.offset_encoding))
  end
  local last = status.last
  if last and (last.kind == "Error" or last.kind == "Warning") then
    health.warn(last.message)
  end
end

local function check_buffers()
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    local name = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(buf), ":~:.")
    local reason = eligible.reason_against(buf)
    if vim.api.nvim_buf_is_loaded(buf) and name ~= "" and vim.bo[buf].buftype == "" then
      local attached = client_of.of(buf) and "completed" or "eligible, not attached"
      health.info(("%s: %s"):format(name, reason or attached))
    end
  end
end

function M.check()
  health.start("midword")
  check_neovim()
  if check_program() then
    check_model()
  end
  check_server()
  check_buffers()
end

return M
