"""Figures drawn from records with matplotlib.

Start with draw.py.
"""
