"""From grids to an .inrv file."""
