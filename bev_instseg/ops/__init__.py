"""Array kernels: NumPy in, NumPy out; one public function per file."""
