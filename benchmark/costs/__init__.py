"""Estimate what a plan computes and how long it takes: operation counts, timings, forecast.

It imports running and below. Start with estimate.py.
"""
