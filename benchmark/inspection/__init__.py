"""What a recorded run has learned: its values, patch alignment, nearest words.

It imports planning and below. Start with recorded_run.py.
"""
