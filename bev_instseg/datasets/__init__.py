"""Sweeps and their truth: reading, simulating, augmenting."""
