"""Eyelids, their textures, and glasses."""
