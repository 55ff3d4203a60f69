"""The `inrv` command. It reads the command line, calls the library and prints what comes back."""
