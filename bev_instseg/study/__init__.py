"""Studies: train variants of a configuration with several seeds each, and compare them.

- `run`: training and scoring one variant with one seed.
- `report`: means and spreads over the seeds, as a table and a plot.
"""
