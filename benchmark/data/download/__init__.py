"""Download of datasets: sources, transfer, archives, installation.

Start with install.py.
"""
