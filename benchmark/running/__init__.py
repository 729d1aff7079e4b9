"""Do the runs of a plan: the runner of one process, and the distribution over processes.

It imports planning and below. Start with execute.py, then runner.py.
"""
