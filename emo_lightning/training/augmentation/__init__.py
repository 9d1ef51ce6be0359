"""Augmentation of spectrograms and images."""
