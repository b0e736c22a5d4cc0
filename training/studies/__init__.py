"""The paper's ablations on the user's own data, how many groups to make, and RESULTS.md.

Begin with `ablate.py`: a study is a list of trials (`designs.py`), each fitted and scored by `trials.py`.
What makes the guard guard is a study of its own, `guarding.py`: guards are fitted and judged by `guards.py`, on what
`guard_material.py` gives.
"""
