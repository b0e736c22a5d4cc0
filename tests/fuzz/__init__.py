"""Whatever bytes come, what reads them keeps its word: fuzzing guided by coverage, and the corpus that it has found.

`python -m tests.fuzz TARGET --seconds N` looks for new inputs, `test_corpus` replays those that are kept here.
"""
