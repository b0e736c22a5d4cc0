"""From encoded bytes to a verdict: decode threads, dynamic batching, the engine, and the canaries that prove it.

Begin with `pipeline.py`, the one way that users' images and canaries take. `engine.py` alone knows ONNX Runtime and its
execution providers, `health.py` holds what speaks against giving verdicts. Nothing here knows HTTP or Prometheus.
"""
