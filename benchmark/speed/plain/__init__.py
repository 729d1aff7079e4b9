"""The authors' computation, restated without any saving, and held to their goldens: the other side of each ratio.

It imports clip, prompts and towers. Start with text.py; towers.py is for methods that learn inside the towers.
"""
