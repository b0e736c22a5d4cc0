"""What is fitted: the BiT backbone, the group softmax with its *others* classes, and both heads on one backbone.

Begin with `network.py`.
"""
