"""Pictures: where they are, which class each is, their pixels, and how training varies them.

Begin with `sets.py`. Pixels come from the service's own preprocessing; `augment.py` is the only place where training's
differ from those that are served.
"""
