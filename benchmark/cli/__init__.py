"""The command line and the Python API: parser, request, plan, grid, doctor, download, export.

It may import every room, and tables. Start with main.py, then commands.py.
"""
