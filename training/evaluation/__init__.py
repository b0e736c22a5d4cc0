"""How good a bundle is: every detector's scores on ID and OOD pictures, figures with intervals, tables and pictures.

Begin with `evaluate.py`. The scoring half runs the ONNX file that will be served and needs no torch.
"""
