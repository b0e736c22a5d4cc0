"""Which classes share a softmax: by a taxonomy, by clustering, or by chance (paper §3.3).

Begin with `groups.py`, what a grouping is; `strategies.py` has every way to make one. Nothing here reads pictures.
"""
