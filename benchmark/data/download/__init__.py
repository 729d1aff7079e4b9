"""Download of datasets: sources, transfer, archives, installation.

It imports common and data. Start with install.py.
"""
