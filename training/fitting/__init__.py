"""From labelled pictures to the weights of a finished run.

Begin with `train.py`, which reads as one line: split, group, fit. `recipes.py` has every number of a fit, `loop.py` the
steps, `run.py` the folder that a run leaves behind.
"""
