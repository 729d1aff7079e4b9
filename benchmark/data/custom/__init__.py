"""Datasets that a user names with --dataset: folders, CSV files, split files.

Start with dataset.py.
"""
