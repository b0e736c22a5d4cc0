"""What is fitted: a backbone, the group softmax with its *others* classes, and both heads on that backbone.

Begin with `network.py`; `backbone.py` says what any feature extractor must be able to.
"""
