"""Emotions, levels, emotion tracks, transitions between emotions, blinks."""
