"""How the service says how it is doing, and what it hears about it: Prometheus series, log lines, labels.

Begin with `metrics.py`, where every series, bucket and label is defined. `logs.py` is the service's own log,
`verdict_log.py` has a line a verdict, `feedback.py` what a label becomes; `json_lines.py` keeps their files, and
`background.py` writes where no answer may wait.
"""
