"""NanoVDB grids: trees in one run of bytes, as renderers and GPUs read them, without OpenVDB."""
