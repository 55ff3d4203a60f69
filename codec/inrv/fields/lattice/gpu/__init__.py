"""Regions of a lattice, decoded on a GPU, all of a batch at once (torch, Triton)."""
