"""Training: samples, losses, the training loop and its report."""
