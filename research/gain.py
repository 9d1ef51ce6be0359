"""Amplitude of our lips by the real ones of people trained on; --write sets the mouth's gains by it.

    python -m research.gain --data SHARDS [--data SHARDS ...] [--checkpoint-dir D] [--write DIR]

Stage 2 fits each unit's spread by itself, with noise on content, so the lips as a whole may move
too little or too much. A person's figure is the median over clips of the ratio of standard
deviations, ours to the tracked one, of opening and of width. The gains bring the geometric mean
over people to one; they scale ExpNet's ``amplitude``: units that mostly part the lips by the
opening's gain, those that mostly widen them by the width's. SHARDS must be people trained on:
people to be tested on must not set a gain.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import _lips
from benchmarks._shared import one_thread
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.losses.lips import OPENING, WIDTH
from emo_lightning.models.checkpoint_io import SHIPPED, export, read_network
from tools.fit_visemes import SPREADS

ROUNDS, MAX_GAIN = 4, 3.0
FACE = ("AU6", "AU9")
"""Units that move the lips a little, and the cheeks and the nose more."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each person's figure; write the networks with the gains where that is wanted."""
    parser = argparse.ArgumentParser(
        prog="python -m research.gain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, action="append", required=True, help="people trained on; repeatable")
    add("--checkpoint-dir", type=Path, help="trained weights; those shipped by default")
    add("--clips", type=int, default=24, help="at most so many of a set (default: %(default)s)")
    add("--write", type=Path, metavar="DIR", help="folder for the networks with the gains")
    args = parser.parse_args(arguments)
    people: dict[str, list[_lips.Clip]] = {}
    for folder in args.data:
        for clip in _lips.read(folder, None, args.clips):
            parents = Path(clip.person).parts[:-1]
            people.setdefault(parents[0] if parents else folder.name, []).append(clip)
    networks = load_audio_to_motion(args.checkpoint_dir)
    networks.voice_gate = False
    with one_thread():
        gains = fit_gains(networks, people, ROUNDS if args.write else 1)
    if args.write:
        write(args.checkpoint_dir or SHIPPED, args.write, networks, gains)


def fit_gains(
    networks: AudioToMotion, people: Mapping[str, Sequence[_lips.Clip]], rounds: int
) -> np.ndarray:
    """Scale ExpNet's amplitude in place over ``rounds``; returns the gains ``(2,)``.

    The last round only measures, so one round changes nothing.
    """
    names = networks.layout.exp_names
    # By what a unit does more of, relative to the spread in people who talk.
    wide = [abs(WIDTH.get(n, 0)) / SPREADS[1] > abs(OPENING.get(n, 0)) / SPREADS[0] for n in names]
    mouth = torch.tensor([(n in OPENING or n in WIDTH) and n not in FACE for n in names])
    amplitude, gains = networks.motion_model.expnet.amplitude, np.ones(2)
    start = amplitude.detach().clone()
    for number in range(rounds):
        factors = torch.where(torch.tensor(wide), float(gains[1]), float(gains[0]))
        with torch.no_grad():
            amplitude.copy_(start * torch.where(mouth, factors, 1.0))
        ratios = {
            person: np.median([amplitude_ratio(networks, clip) for clip in clips], axis=0)
            for person, clips in people.items()
        }
        mean = np.exp(np.mean(np.log(list(ratios.values())), axis=0))
        each = ", ".join(f"{person} {r[0]:.2f} / {r[1]:.2f}" for person, r in ratios.items())
        print(
            f"gains {gains[0]:.2f} / {gains[1]:.2f}: opening / width by the real one "
            f"{mean[0]:.2f} / {mean[1]:.2f} ({each})",
            flush=True,
        )
        if number < rounds - 1:
            gains = np.clip(gains / mean, 1.0 / MAX_GAIN, MAX_GAIN)
    return gains


def amplitude_ratio(networks: AudioToMotion, clip: _lips.Clip) -> np.ndarray:
    """Standard deviation of opening and width ``(2,)``, ours by the tracked one."""
    return _lips.made_lips(networks, clip).std(axis=0) / np.maximum(clip.lips.std(axis=0), 1e-6)


def write(source: Path, out: Path, networks: AudioToMotion, gains: np.ndarray) -> None:
    """Write the motion model with the gains in its provenance, and its decoupler."""
    out.mkdir(parents=True, exist_ok=True)
    meta = dict(read_network(source / "heads.safetensors", "heads", "--checkpoint-dir").meta)
    origin = {**meta.get("provenance", {}), "gains": [round(float(gain), 4) for gain in gains]}
    export(out / "heads.safetensors", networks.motion_model, {**meta, "provenance": origin})
    if source.resolve() != out.resolve():
        shutil.copyfile(source / "decoupler.safetensors", out / "decoupler.safetensors")


if __name__ == "__main__":
    main()
