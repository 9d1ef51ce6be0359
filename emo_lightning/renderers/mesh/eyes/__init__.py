"""Eyelids, gaze, and the skin between eye and brow."""
