"""Sound to coefficients as it arrives: exactness, speed on one core, memory, latency.

    python -m benchmarks streaming [--minutes 10] [--checkpoint-dir D]

Speech-like noise in pieces of 10 ms to 10 s through TalkingStream, against the whole recording through AudioToMotion.generate at
the same gain. Speed counts the process' own seconds, on one thread. The delay measured is the sound that had arrived after
a frame's own when the frame came out. Takes about a minute; ``--minutes 60`` for an hour of sound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

SECONDS = 20.0
PIECES = (0.01, 0.02, 0.04, 0.1, 0.333, 1.0, 10.0)
RATE = 16_000


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="benchmarks streaming",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        help="length of the recording whose memory is watched",
    )
    parser.add_argument(
        "--checkpoint-dir", type=Path, help="trained weights; those shipped by default"
    )
    args = parser.parse_args(arguments)
    from emo_lightning.inference.audio_to_motion import BLOCK
    from emo_lightning.inference.weights import load_audio_to_motion

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        talker = load_audio_to_motion(args.checkpoint_dir)
        print("| waits for | seconds of sound after a frame |\n|---|---|")
        for part, seconds in talker.latencies.items():
            print(f"| {part} | {seconds:.2f} |")
        print(f"| all, at most | {talker.latency:.2f} |")
        for block in (talker.block, 4):
            talker.block = block
            print(f"\nblocks of {block} frames, latency {talker.latency:.2f} s\n")
            exactness(talker)
        talker.block = BLOCK
        memory(talker, args.minutes)
    finally:
        torch.set_num_threads(threads)


def exactness(talker: object) -> None:
    """Pieces of every length against the whole."""
    from emo_lightning.inference.streaming import TalkingStream
    from emo_lightning.media.spectrogram import log_mel

    wave, source, track = np.concatenate(list(speech(SECONDS))), portrait(), feelings()
    start = time.process_time()
    whole = np.concatenate(
        [made.joined() for made in talker.generate([log_mel(wave)], source, track)]
    )
    took = time.process_time() - start
    print(
        "| pieces of, s | largest difference | delay measured, s | times real time |\n|---|---|---|---|"
    )
    print(f"| whole file | | | {SECONDS / took:.0f} |")
    for seconds in PIECES:
        stream, made, delay = TalkingStream(talker, source, track, gain=1.0), [], 0.0
        start = time.process_time()
        for at in range(0, len(wave), round(seconds * RATE)):
            first = stream.frames
            made.append(stream.push(wave[at : at + round(seconds * RATE)]).joined())
            if stream.frames > first:
                delay = max(delay, min(at / RATE + seconds, SECONDS) - (first + 1) / 25.0)
        made.append(stream.finish().joined())
        took = time.process_time() - start
        difference = float(np.abs(np.concatenate(made) - whole).max())
        print(f"| {seconds:g} | {difference:g} | {delay:.2f} | {SECONDS / took:.0f} |", flush=True)


def memory(talker: object, minutes: float) -> None:
    """Memory while a long recording streams with the level followed as it is heard."""
    from emo_lightning.inference.streaming import talk

    print("\n| minutes of sound | memory held, MB | times real time |\n|---|---|---|")
    start, frames, first = time.process_time(), 0, resident()
    marks = sorted({round(minutes * 1500 * share) for share in (0.1, 0.25, 0.5, 1.0)})
    print(f"| 0 | {first:.1f} | |")
    for made in talk(speech(minutes * 60.0), talker, portrait(), feelings()):
        frames += len(made)
        while marks and frames >= marks[0]:
            print(
                f"| {marks.pop(0) / 1500:g} | {resident():.1f} | {frames / 25.0 / (time.process_time() - start):.0f} |",
                flush=True,
            )


def speech(seconds: float) -> Iterator[np.ndarray]:
    """Noise that comes and goes in syllables and pauses, a second at a time."""
    rng, total = np.random.default_rng(0), round(seconds * RATE)
    for at in range(0, total, RATE):
        n = min(RATE, total - at)
        t = (at + np.arange(n)) / RATE
        loud = np.maximum(np.sin(2 * np.pi * 2.1 * t), 0.0) * (np.sin(2 * np.pi * 0.13 * t) > -0.6)
        yield (0.1 * loud * rng.standard_normal(n)).astype(np.float32)


def portrait() -> object:
    """A neutral face from the front."""
    from emo_lightning.face.coefficients import BUILTIN, Coefficients

    return Coefficients(
        BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    )


def feelings() -> object:
    """A track that changes."""
    from emo_lightning.motion.emotions import EmotionKey, EmotionTrack

    return EmotionTrack((EmotionKey(0.0, 5, 8.0), EmotionKey(6.0, 6, 12.0)))


def resident() -> float:
    """Memory that the process holds now, MB."""
    import resource

    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
