"""Where the default networks of the lattice are made."""
