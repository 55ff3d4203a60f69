"""What every room may use and no room of its own has: arrays, files, devices, threads."""
