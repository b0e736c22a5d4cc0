"""The paper's ablations on the user's own data, how many groups to make, and RESULTS.md.

Begin with `ablate.py`: a study is a list of trials (`designs.py`), each fitted and scored by `trials.py`.
"""
