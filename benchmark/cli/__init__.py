"""The command line and the Python API: arguments, commands, doctor, download, export.

It imports every room, and tables. Start with commands.py.
"""
