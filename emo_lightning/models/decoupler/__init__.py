"""Stage 1: audio front ends and the AU-guided contrastive audio decoupler."""
