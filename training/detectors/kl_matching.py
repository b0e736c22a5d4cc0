"""KL matching (Hendrycks et al., 2022): the divergence from the nearest class's typical flat softmax.

Templates come from `FitData.held_out`, by `Settings.kl_templates`:

- `corrected`: held-out pictures by their true class.
- `paper`: held-out pictures by their predicted class, as the cited method does.
- `official`: by true class, and on the very pictures that are scored as ID later. Which pictures these are is the
  caller's choice: `held_out` must then be the ID test set.

A class without a picture has no template, and pictures are compared with the templates there are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from training.detectors.class_means import class_means
from training.detectors.outputs import FitData, Outputs, Statistics

SMALLEST = np.finfo(np.float32).tiny
"""Probabilities of a template are at least this, so that its logarithm is finite."""


def fit(data: FitData) -> Statistics:
    """`log_templates` (classes with a picture, C): logarithms of the mean flat softmax of each class."""
    logits = data.held_out.flat_logits.astype(np.float64)
    by_true_class = data.kl_templates != "paper"
    labels = data.held_out_labels if by_true_class else logits.argmax(axis=1)
    templates, _ = class_means(softmax(logits, axis=1), labels)
    return {"log_templates": np.log(np.maximum(templates, SMALLEST)).astype(np.float32)}


def score(outputs: Outputs, statistics: Statistics) -> NDArray[np.float64]:
    """-min over templates d of KL(p || d) = sum p log p - p @ log d, one matrix product, (N,)."""
    log_p: NDArray[np.float32] = log_softmax(outputs.flat_logits, axis=1)
    p = np.exp(log_p)
    negative_entropy = np.einsum("nc,nc->n", p, log_p, dtype=np.float64)
    nearest: NDArray[np.float64] = (p @ statistics["log_templates"].T).max(axis=1) - negative_entropy
    return nearest
