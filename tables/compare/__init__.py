"""Two results compared: their differences, and a report of them in Markdown.

Start with report.py.
"""
