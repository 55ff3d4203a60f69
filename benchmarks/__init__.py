"""The measurements of docs/results.md, each one command: `python -m benchmarks.NAME`."""
