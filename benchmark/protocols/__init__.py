"""Protocols: what each one trains on and which class sets it scores.

It imports common and data. Start with protocol.py; registry.py lists all protocols.
"""
