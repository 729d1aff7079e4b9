"""Speed benchmarks of the harness against a plain version of the authors' computation.

It imports every room. Start with text_tower.py; `python -m benchmark.speed.text_tower` runs it.
"""
