"""Symbols to bytes and back: the masks of leaves."""
