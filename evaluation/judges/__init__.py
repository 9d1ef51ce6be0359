"""Judges: the models that look at a video for the metrics. Each has a name and the hash of its
weights, shown with its scores."""
