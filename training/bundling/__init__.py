"""A finished run -> a bundle, and the threshold of a bundle.

Begin with `export.py` for the one, with `calibrate.py` for the other: `guarantee.py` has what is promised,
`strangers.py` and `operating_points.py` what gets in, `card.py` says it. All of that runs without torch, inside the
service's image.
"""
