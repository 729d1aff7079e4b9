"""How the paper's grids behave on many processes: simulated from estimates, and compared with real runs.

It imports every room. Start with simulation.py; `python -m benchmark.speed.scale` runs it.
"""
