"""The network: pillar features, backbone, heads."""
