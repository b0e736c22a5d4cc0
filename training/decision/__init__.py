"""What decides whether a picture is in-distribution: MOS, or MOS joined with what it lacks, as one number.

Everything here reads features and group-softmax logits alone, in torch, so that the same code is exported into the
served graph and judges cached features. Begin with `statistic.py`.
"""
