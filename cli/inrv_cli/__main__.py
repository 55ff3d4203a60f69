"""Run the command line by `python -m inrv_cli`."""

from inrv_cli.main import main

main()
