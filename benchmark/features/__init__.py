"""Frozen image features, computed once, kept in memory and on disk.

It imports common, clip and data. Start with store.py.
"""
