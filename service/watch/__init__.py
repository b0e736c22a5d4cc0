"""How the service says how it is doing, and what it hears about it: Prometheus series, log lines, traces, labels.

Begin with `series.py`, where every series, bucket and label is defined; `metrics.py` fills them. `logs.py` is the
service's own log, `verdict_log.py` has a line a verdict, `feedback.py` what a label becomes; `json_lines.py` keeps
their files, and `background.py` writes where no answer may wait. `trace_context.py` reads which trace a request belongs
to, and `traces.py` adds spans to it where OpenTelemetry is there and asked for.
"""
