"""Methods by name: discovery of their files, import, recipes, construction.

discovery.py and recipes.py import common alone, so names and recipe files are checked without torch; importer.py and
factory.py also import clip and the method interface. Start with factory.py.
"""
