"""Dense images: NIfTI, NRRD, MRC, TIFF, NumPy and Mitsuba files, each in a module of its name."""
