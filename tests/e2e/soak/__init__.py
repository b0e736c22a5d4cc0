"""Hours of a service's life, or minutes: mixed traffic, faults and swaps, and every answer checked against the model.

    python -m tests.e2e.soak --seconds 600 --seed 1

`mix` makes the requests, `faults` what goes wrong meanwhile, `books` checks every answer as it comes, `vitals` watches
the process, and `soak` lets them play together and says what did not hold.
"""
