"""Weights made elsewhere: Google's, timm's, the authors' and our own, under our parameter names.

Begin with `reading.py`. A new file format belongs in `formats.py`, another maker's names in `layouts.py`.
"""
