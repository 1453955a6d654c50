"""Reading points: sweeps of any format, and the labels that go with them."""
