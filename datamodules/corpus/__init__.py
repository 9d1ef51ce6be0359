"""The embedded corpus: labelled talking heads made from packages alone, every coefficient, phone and level known exactly."""
