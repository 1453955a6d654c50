"""Read labelled frames from data sets in KITTI or SemanticKITTI layout."""
