"""Training and scoring of one method: loop, steps, schedule, checkpoints, evaluation.

It imports the rooms above it in docs/index.md: up to plugins. Start with loop.py.
"""
