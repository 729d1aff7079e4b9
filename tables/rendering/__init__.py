"""Tables as grids of cells, printed as Markdown, LaTeX and HTML.

Start with table.py.
"""
