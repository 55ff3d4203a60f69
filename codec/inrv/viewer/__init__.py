"""What `inrv view` shows: a page that decodes .inrv files itself, and the server behind it.

The page is built from viewer/ at the root of the project, by scripts/build_viewer.py.
"""
