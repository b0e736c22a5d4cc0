"""Networks that compute in float64, for tests of formulas.

In float32 the same picture gives other last bits in another batch, on another processor or with other threads, and
whatever depends on the sign of a gradient may jump. In float64 these differences are too small to matter.
"""

from training.model.network import Network


def in_float64(network: Network) -> Network:
    """Widen the weights, and every picture that the backbone is shown; returns the network itself."""
    network.double()
    network.backbone.root.register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    return network
