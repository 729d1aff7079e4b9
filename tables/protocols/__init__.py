"""The tables of each protocol.

Start with base2new.py; writers.py writes all of them to files.
"""
