"""Fuzzing of the readers: hostile .inrv and .vdb files, made from good ones. See README.md."""
