"""The service: HTTP in, verdict out. No torch anywhere.

Begin with `app.py`, which builds every object and hands each what it needs. `http/` knows the web, `inference/` turns
bytes into verdicts, `watch/` says how both are doing. `bundle/`, `preprocess.py`, `verdict.py` and `errors.py` are the
leaves, shared with training.
"""
