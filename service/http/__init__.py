"""Everything that knows HTTP: from the bytes on a connection to the images in them, and from a verdict to its answer.

Begin with `routes.py`; `judging.py` has what it shares with `v2/`, the Open Inference Protocol. On the way in,
`server.py` and `protocol.py` are the process and its connections, `middleware.py` gives every exchange its id, key
check and record, and `body.py` and `form.py` count the bytes and take them apart. On the way out, `answers.py` words
what is told of images and the model, `problems.py` has the one table from errors to statuses, and `recording.py` keeps
series, log and traces. `schemas.py` and `openapi.py` describe all of it. `feedback.py` is the route for operators'
labels, with keys of its own. `page/` is what people see in a browser.
"""
