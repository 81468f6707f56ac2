"""The editor's side of midword: LSP server and command line. Imports no model library."""
