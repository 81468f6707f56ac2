"""Loops of the engine that are written twice; kernels/README.md states their contracts."""
