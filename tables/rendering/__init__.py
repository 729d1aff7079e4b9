"""Finished tables as grids of cells, and their Markdown and LaTeX.

Start with table.py.
"""
