-- The server's process and the messages to it; hides the difference between Neovim 0.10 and 0.11.
local config = require("midword.config")
local eligible = require("midword.eligible")
local status = require("midword.status")

local M = {}

local NAME = "midword"
local MOST_RESTARTS = 3
local RESTART_WAIT_MS = 1000
local has_0_11 = vim.fn.has("nvim-0.11") == 1
local restarts = 0
local has_warned = false
local stopping = {}
local is_starting = false

local function call(client, method, ...)
  if has_0_11 then
    return client[method](client, ...)
  end
  return client[method](...)
end

local function running(buf)
  return vim.tbl_filter(function(client)
    return not stopping[client.id]
  end, vim.lsp.get_clients({ bufnr = buf, name = NAME }))
end

--- The client of a buffer, once it has answered `initialize`.
---@param buf integer
---@return vim.lsp.Client?
function M.of(buf)
  return running(buf)[1]
end

---@return boolean
function M.is_running()
  return #running() > 0
end

---@return "off"|"starting"|"attached"
function M.state_of(buf)
  return M.of(buf) and "attached" or is_starting and "starting" or "off"
end

--- Sends a request. The id is nil if the server has gone.
---@param handler fun(result: any?) called with nil for an error
---@return integer?
function M.request(client, method, params, handler, buf)
  local _, id = call(client, "request", method, params, function(_, result)
    handler(result)
  end, buf)
  return id
end

function M.notify(client, method, params)
  call(client, "notify", method, params)
end

function M.cancel(client, id)
  call(client, "cancel_request", id)
end

--- Runs a command of the server, such as the one that an accepted item carries.
---@param handler? fun(result: any?)
function M.execute(client, command, arguments, buf, handler)
  local params = { command = command, arguments = arguments }
  M.request(client, "workspace/executeCommand", params, handler or function() end, buf)
end

local function attach_all()
  for _, buf in ipairs(vim.api.nvim_list_bufs()) do
    if vim.api.nvim_buf_is_loaded(buf) then
      M.attach(buf)
    end
  end
end

local function ended(code, signal, client_id)
  local was_meant = stopping[client_id]
  stopping[client_id] = nil
  if was_meant then
    if not M.is_running() then
      status.set(nil)
    end
    return
  end
  is_starting = false
  restarts = restarts + 1
  local will_restart = restarts <= MOST_RESTARTS
  local what_next = will_restart and "it is being restarted" or "try :Midword restart"
  local what = "the server ended (code %d, signal %d); %s"
  status.set({ kind = "Error", message = what:format(code, signal, what_next) })
  if will_restart then -- Neovim itself has told the user
    vim.defer_fn(attach_all, RESTART_WAIT_MS)
  end
end

local function start_config(buf)
  local values = config.values
  local server = vim.tbl_extend("keep", values.server, { reportStatus = true })
  return vim.tbl_deep_extend("force", {
    name = NAME,
    cmd = values.cmd,
    root_dir = vim.fs.root(buf, values.root_markers),
    init_options = server,
    handlers = {
      didChangeStatus = function(_, payload)
        status.set(payload)
      end,
      ["window/showMessage"] = function(_, message)
        vim.notify(message.message, vim.log.levels.WARN)
      end,
    },
    on_init = function()
      is_starting = false
      status.announce()
    end,
    on_exit = vim.schedule_wrap(ended),
  }, values.client)
end

--- Whether the server's program is there; says so once if it is not.
---@return boolean
local function has_program()
  local program = config.values.cmd[1]
  if vim.fn.executable(program) == 1 then
    return true
  end
  if not has_warned then
    has_warned = true
    local what =
      "midword: the program %q is not found; set cmd in setup(), see :checkhealth midword"
    vim.notify(what:format(program), vim.log.levels.WARN)
  end
  return false
end

-- One server for all folders: each has a model in memory.
local function can_join(client, wanted)
  return client.name == wanted.name and not stopping[client.id]
end

--- Tells the server of the buffer's folder, unless it knows it.
---@param buf integer
function M.tell_folder(client, buf)
  local root = vim.fs.root(buf, config.values.root_markers)
  local folders = client.workspace_folders or {}
  local is_known = vim.iter(folders):any(function(folder)
    return folder.name == root
  end)
  if root and not is_known then
    local added = { uri = vim.uri_from_fname(root), name = root }
    client.workspace_folders = vim.list_extend({ added }, folders)
    local event = { added = { added }, removed = {} }
    M.notify(client, "workspace/didChangeWorkspaceFolders", { event = event })
  end
end

--- Tells the server which document the user looks at.
---@param buf integer
function M.tell_focus(client, buf)
  local focus = { textDocument = { uri = vim.uri_from_bufnr(buf) } }
  M.notify(client, "textDocument/didFocus", focus)
end

--- Starts the server for an eligible buffer, or joins the one that runs.
---@param buf integer
function M.attach(buf)
  if M.of(buf) == nil and eligible.reason_against(buf) == nil and has_program() then
    local client = running()[1]
    is_starting = client == nil
    if client then
      M.tell_folder(client, buf) -- before the text of a file in it
    end
    vim.lsp.start(start_config(buf), { bufnr = buf, reuse_client = can_join })
  end
end

--- The server forgets the buffer.
---@param buf integer
function M.detach(buf)
  local client = M.of(buf)
  if client then
    vim.lsp.buf_detach_client(buf, client.id)
  end
end

--- Starts the server for all eligible buffers.
function M.start()
  restarts, has_warned = 0, false
  attach_all()
end

--- Ends the server, and with it the model.
function M.stop()
  is_starting = false
  for _, client in ipairs(running()) do
    stopping[client.id] = true
    call(client, "stop")
  end
end

return M
