"""Generated datasets: renderer, captions, and the training of the small embedded CLIP.

It imports common. Start with suite.py; names.py lists the datasets without importing the renderer.
"""
