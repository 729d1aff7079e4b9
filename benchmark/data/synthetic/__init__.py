"""The embedded suite: its renderer, its captions, and the training of its small CLIP.

Start with suite.py.
"""
