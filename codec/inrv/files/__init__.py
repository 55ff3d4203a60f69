"""Other people's files: one folder for each file type."""
