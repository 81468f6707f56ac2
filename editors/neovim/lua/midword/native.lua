-- The same actions by Neovim's own client (0.12 or newer), which asks 200 ms after the last key.
local M = {}

---@param client_id integer
---@param buf integer
function M.enable(client_id, buf)
  vim.lsp.inline_completion.enable(true, { client_id = client_id, bufnr = buf })
end

--- Accepts a part of what is shown.
---@param part fun(text: string): string the head of a text
function M.accept(part)
  vim.lsp.inline_completion.get({
    on_accept = function(item)
      local head = part(item.insert_text)
      local lines = vim.split(head, "\n", { plain = true })
      vim.api.nvim_put(lines, "c", false, true)
      local client = head == item.insert_text and vim.lsp.get_client_by_id(item.client_id)
      if client and item.command then
        client:exec_cmd(item.command)
      end
    end,
  })
end

---@param step integer
function M.cycle(step)
  vim.lsp.inline_completion.select({ count = step })
end

return M
