"""Run specification, validation, YAML, files, provenance and shutdown, for all rooms.

It imports no other room. Start with config.py: a RunSpec decides everything about a run.
"""
