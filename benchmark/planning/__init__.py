"""From a request to a plan: everything that is known and checked before a run starts.

It imports training and below. Start with plan.py.
"""
