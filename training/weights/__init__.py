"""Weights made elsewhere: Google's, timm's, the authors' and our own, under our parameter names.

Begin with `extractors.py`, which gives a backbone by its name. A new file format belongs in `formats.py`, another
maker's names in `layouts.py`. `own_graph/` takes a network of any kind, as ONNX.
"""
