"""The `inrv` command: parse, call the library, print."""
