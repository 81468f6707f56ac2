"""Byte-exact code completion: the model's side. Never imports `lsp_server` or pygls."""

__version__ = "0.1.0"
