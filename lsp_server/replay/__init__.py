"""Keystrokes as people make them, replayed against a completion server and measured."""
