"""The frozen CLIP: checkpoints, both towers, and the fast path of the text encoder.

It imports common. Start with backbone.py.
"""
