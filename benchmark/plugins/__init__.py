"""Methods by name: discovery of their files, import, recipes, construction.

It imports common, clip and the method interface. Start with factory.py.
"""
