"""Errors, atomic files, progress, provenance, external assets: what every other package may use."""
