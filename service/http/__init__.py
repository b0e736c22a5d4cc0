"""Everything that knows HTTP: from the bytes on a connection to a request's image, and from a verdict to its answer.

Begin with `routes.py`. `problems.py` has the one table from errors to statuses, `exchange.py` what every exchange gets
(id, key, times, log line), `body.py` and `form.py` how bytes are counted and taken apart.
"""
