"""Train and score one method: the loop, its steps and schedule, checkpoints, evaluation.

It imports the rooms above it in docs/index.md: up to plugins. Start with loop.py.
"""
