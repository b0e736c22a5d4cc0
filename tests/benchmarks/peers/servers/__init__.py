"""The peers, each as its own documentation writes a service; `model.py` is what all of them serve."""
