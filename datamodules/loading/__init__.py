"""Training data loaders: deterministic sampling, decoding, windows, LightningDataModules."""
