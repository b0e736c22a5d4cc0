"""This service beside the servers that somebody would use instead, and beside what is possible without HTTP.

Begin with `__main__.py`, which has the commands. `plan.py` says what is measured, `contest.py` measures it in turns,
`contestants.py` starts and freezes the servers, `servers/` holds the peers. `ceiling.py` searches for what decoder and
session do alone, `own_bundle.py` makes the second bundle, `report.py` and `picture.py` tell the results.
"""
