"""Mouth interior: lip seam, teeth, tongue, tones."""
