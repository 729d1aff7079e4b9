"""Datasets: the catalog, directory layouts, few-shot splits and image views.

Subpackages: custom (user datasets), download, synthetic (generated datasets).
It imports common. Start with catalog.py.
"""
