"""From trained weights to coefficients and videos: loading, audio to motion, streaming,
generation."""
