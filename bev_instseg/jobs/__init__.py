"""Folder jobs: many sweeps in threads or on a Ray cluster, and a summary of the results."""
