"""How the service says how it is doing: Prometheus series and log lines.

Begin with `metrics.py`, where every series, bucket and label is defined.
"""
