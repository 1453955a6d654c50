"""Measuring: stages and floors, peers, decoders, growth, streaming. For ``tools/benchmark.py``.

Each module measures one thing and returns plain rows; `report` prints, draws and compares them.
What only peers need (pypatchworkpp, scikit-learn, Open3D) is imported inside the functions.
"""
