"""Array kernels, compiled with Numba: NumPy in, NumPy out; each file is one step.

From points to pillars (`voxelize`, with the local `ground`), the indices of sparse convolutions
(`neighbours`), from embeddings to instances (`cluster`, `assemble`, `boxes`) and from mean seeds to
probabilities (`score`). `kernel` holds the compiler decorator.
"""
