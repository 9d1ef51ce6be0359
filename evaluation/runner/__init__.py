"""Runs the suite over folders of clips: pairing, feature extraction, scoring, merging."""
