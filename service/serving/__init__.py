"""Which bundle is in service, and how another one takes its place without a gap.

Begin with `guard.py`: a guard is one bundle in service, with all that belongs to it alone. `swap.py` holds the guard in
force, proves the next one beside it and exchanges the two; `identity.py` tells when there is a next one.
"""
