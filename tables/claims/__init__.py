"""Claims of the CoPL paper, judged from records.

Start with judge.py; rules.py defines what a claim may state.
"""
