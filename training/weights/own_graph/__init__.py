"""Bring your own model: a feature extractor as an ONNX file -> the graph that is served, or a sentence why not.

`reading.py` is the way from the file to an `OnnxExtractor`. `picture_input.py` tells how the graph takes its pictures,
`normalisation.py` in what range, `picture_graph.py` puts pixels before it and pooling behind, and `trial.py` runs it.

What a graph can say is read from it: layout, type, side, batch. What it cannot say is asked for, or assumed aloud.
"""
