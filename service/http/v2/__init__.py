"""The Open Inference Protocol, version 2, over HTTP, with Triton's extension for binary tensors; on the native queue.

Begin with `routes.py`. `tensors_in.py` finds the pictures in a request's tensors, `tensors_out.py` turns verdicts into
the tensors of an answer, `schemas.py` and `openapi.py` describe both. Errors, keys, limits, series and logs are those
of the native routes.
"""
