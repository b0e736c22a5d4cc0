"""A bundle's ONNX file over many pictures: what calibration, evaluation and recommendation share. No torch."""
