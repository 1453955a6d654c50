"""The network: batches of pillars, pillar features, backbone and heads."""
