"""The doctor: whether a run would start on this machine, and what to do if not.

Start with checks.py.
"""
