"""Foreground/background segmentation, inpainting and compositing."""
