"""Jobs over many sweeps: a folder, its threads or Ray workers, and its summary."""
