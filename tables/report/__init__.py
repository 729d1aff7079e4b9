"""The HTML and Markdown report of one results folder.

Start with report.py.
"""
