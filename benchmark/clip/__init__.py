"""The frozen CLIP: checkpoints, tokenizer, both towers, and the fast path of the text encoder.

It imports common. Start with backbone.py.
"""
