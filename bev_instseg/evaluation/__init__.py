"""Scoring predictions against labels, and fitting scores and thresholds."""
