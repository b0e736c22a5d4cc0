"""A finished run -> a bundle, and the threshold of a bundle.

Begin with `export.py`. `calibrate.py` runs without torch, inside the service's image.
"""
