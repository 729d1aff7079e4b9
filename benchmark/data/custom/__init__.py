"""Custom datasets, which a user names with --dataset: class folders, CSV files, split files.

It imports common and data. Start with dataset.py.
"""
