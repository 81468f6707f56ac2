-- Pure functions on texts: columns, lines, parts.
local M = {}

local has_0_11 = vim.fn.has("nvim-0.11") == 1

--- The byte column of an LSP column.
---@param line string
---@param column integer in units of `encoding`
---@param encoding "utf-8"|"utf-16"|"utf-32"
---@return integer
function M.byte_column(line, column, encoding)
  if encoding == "utf-8" then
    return math.min(column, #line)
  elseif has_0_11 then
    return vim.str_byteindex(line, encoding, column, false)
  end
  local utf32, utf16 = vim.str_utfindex(line)
  local is_utf16 = encoding == "utf-16"
  return vim.str_byteindex(line, math.min(column, is_utf16 and utf16 or utf32), is_utf16)
end

--- UTF-16 units of a text, which is how Copilot's notifications count.
---@param text string
---@return integer
function M.utf16_units(text)
  if has_0_11 then
    return vim.str_utfindex(text, "utf-16")
  end
  return (select(2, vim.str_utfindex(text)))
end

--- The text with "\n" between lines, as the buffer keeps them; 'fileformat' says how they end on disk.
---@param text string
---@param fileformat "unix"|"dos"|"mac"
---@return string
function M.from_server(text, fileformat)
  if fileformat == "dos" then
    return (text:gsub("\r\n", "\n"))
  elseif fileformat == "mac" then
    return (text:gsub("\r\n?", "\n"))
  end
  return text
end

--- The first word with the space before it, or a run of punctuation; 'iskeyword' says what a word is.
---@param text string not empty
---@return string
function M.first_word(text)
  local word = vim.fn.matchstr(text, [[^\_s*\%(\k\+\|\%(\k\@!\S\)\+\)]])
  return word ~= "" and word or text
end

--- The text up to its first line end; a line end right at the cursor counts to the line behind it.
---@param text string not empty
---@return string
function M.first_line(text)
  return text:match("^\n?[^\n]*")
end

--- The text with its tabs as spaces, as virtual text needs them.
---@param text string one line
---@param start_column integer screen column of its first character, from 0
---@param tabstop integer
---@return string
function M.expand_tabs(text, start_column, tabstop)
  local parts, width = {}, start_column
  for before, tab in text:gmatch("([^\t]*)(\t?)") do
    width = width + vim.fn.strdisplaywidth(before)
    local spaces = tab ~= "" and tabstop - width % tabstop or 0
    parts[#parts + 1] = before .. (" "):rep(spaces)
    width = width + spaces
  end
  return table.concat(parts)
end

return M
