"""Calibration to a person: track their videos, refit the readout, compare on held-out video."""
