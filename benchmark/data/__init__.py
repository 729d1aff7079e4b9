"""Datasets: the catalogue, folder layouts, few-shot splits and image views.

Subpackages: custom (a user's datasets), download, synthetic (the embedded suite).
It imports common. Start with catalog.py.
"""
