"""From an .inrv file to values: open a volume, and ask its grids for voxels, boxes and points."""
