"""Coordinates, mesh topology, retargeting, warping and rasterisation."""
