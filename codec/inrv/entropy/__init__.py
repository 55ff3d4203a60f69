"""Symbols to bytes and back: the range coder, and the masks of leaves on top of it."""
