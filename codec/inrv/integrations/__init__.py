"""inrv where other libraries of Python look for it: a module a library, none of them loaded here.

The entry points of pyproject.toml name these modules, and each library loads its own.
"""
