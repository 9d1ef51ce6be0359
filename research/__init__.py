"""Ablations and one-off studies: not installed, not part of CI. Results: research/README.md."""
