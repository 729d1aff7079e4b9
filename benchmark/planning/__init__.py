"""Turn a request into a plan: everything that is known and checked before a run starts.

It imports training and below. Start with plan.py; planned_run.py and run_settings.py describe what the runner gets.
"""
