"""Results on disk: one JSON record per run, metrics of its counts, experiment trackers.

It imports common. Start with record.py.
"""
