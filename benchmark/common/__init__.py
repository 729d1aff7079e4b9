"""What every room uses: the run specification, YAML, files, provenance, shutdown.

It imports no other room. Start with config.py: RunSpec decides everything about a run.
"""
