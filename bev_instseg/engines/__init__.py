"""Runtimes that compute the network: one interface, `Engine`, for PyTorch and exported models."""
