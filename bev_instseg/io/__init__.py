"""Read sweeps of any supported format, and SemanticKITTI point labels."""
