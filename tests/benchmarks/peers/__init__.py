"""This service beside the servers that somebody would use instead, and beside what is possible without HTTP.

Begin with `__main__.py`, which has the commands. `plan.py` says what is measured, `contest.py` measures it round by
round, each figure by `calm.py`, and keeps it in the `journal.py`. `arena.py` has the servers of one bundle ready,
`contestants.py` says how each is started, `servers/` holds the peers. `ceiling.py` searches for what decoder and
session do alone, `own_bundle.py` makes the second bundle, `report.py` and `picture.py` tell the results.
"""
