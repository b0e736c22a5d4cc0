"""The detectors that need gradients at the input: ODIN, and Mahalanobis as the paper compares with it.

Begin with `network.py`, which rebuilds the torch network of a bundle. All other detectors live in `training.detectors`
and run without torch.
"""
