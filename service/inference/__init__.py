"""From encoded bytes to a verdict: decode threads, dynamic batching, the engine, and the canaries that prove it.

Begin with `pipeline.py`, the one way that users' images and canaries take. Nothing here knows HTTP or Prometheus.
"""
