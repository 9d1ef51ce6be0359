"""Rates that hold everywhere: 25 video frames/s and 16 kHz mono audio, 640 samples a frame."""

FPS = 25
SAMPLE_RATE = 16_000
"""Hz."""
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS


def frames_for(n_samples: int) -> int:
    """Video frames of a recording: ``n / 640`` rounded half up, at least 1."""
    return max(1, (n_samples + SAMPLES_PER_FRAME // 2) // SAMPLES_PER_FRAME)
