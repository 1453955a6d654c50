"""Score predictions against ground truth, study errors, calibrate scores and find thresholds."""
