"""Studies: variants of a configuration trained alike, with several seeds each, and compared.

- `sizes`: panoptic quality by the size of the objects.
- `run`: training and scoring one variant with one seed.
- `report`: means and spreads over the seeds, as a table and a plot.
"""
