"""Train the emotion judge: ``python -m tools.judge_training.emotion [--clips 2400] [--seed 0]
[--out FILE]``.
 Simulated people (:mod:`tools.judge_training.simulation`) speak and feel; their landmarks become
blendshapes by the landmarker's own network, these become features of a clip, and a logistic
regression with a ridge penalty tells the emotions apart. About a minute on one core; the same seed
gives the same weights on the same machine.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.motion.emotions import EMOTIONS
from evaluation.judges.blendshapes import NAMES, blendshapes
from evaluation.judges.emotion import WEIGHTS, EmotionJudge, features
from tools.judge_training.simulation import simulate

FRAMES = 6
RIDGE = 0.06
"""Penalty on the squared weights, beside the mean log-likelihood a clip: strong, because simulated
faces are tidier than real ones.
"""
HELD_OUT = 5
"""Every so many clips one is kept for the figure in the provenance."""


def dataset(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(N, F)`` and emotions ``(N,)`` of simulated clips."""
    found = simulate(clips, FRAMES, np.random.default_rng(seed))
    shapes = blendshapes(found.points.reshape(-1, *found.points.shape[2:])).reshape(
        clips, FRAMES, len(NAMES)
    )
    return np.stack([features(clip) for clip in shapes]), found.emotion


def fit(rows: np.ndarray, emotion: np.ndarray, ridge: float = RIDGE) -> dict[str, np.ndarray]:
    """Weights of the judge: convex, so the start does not matter.

    Args:
        rows: ``(N, F)`` features.
        emotion: ``(N,)`` indices of ``EMOTIONS``.
        ridge: penalty on the squared weights of standardised features.
    """
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    inputs, wanted = (rows - mean) / scale, np.eye(len(EMOTIONS))[emotion]
    shape = len(EMOTIONS), rows.shape[1] + 1

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = np.split(flat.reshape(shape), [rows.shape[1]], axis=1)
        scores = inputs @ weight.T + bias[:, 0]
        chances = log_softmax(scores, axis=1)
        error = (np.exp(chances) - wanted) / len(rows)
        slope = np.concatenate(
            [error.T @ inputs + 2 * ridge * weight, error.sum(axis=0)[:, None]], axis=1
        )
        return float(
            -(chances * wanted).sum() / len(rows) + ridge * np.square(weight).sum()
        ), slope.ravel()

    found = minimize(
        loss,
        np.zeros(shape).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "gtol": 1e-7, "ftol": 1e-12},
    )
    weight, bias = np.split(found.x.reshape(shape), [rows.shape[1]], axis=1)
    return {"mean": mean, "scale": scale, "weight": weight, "bias": bias[:, 0]}


def train(clips: int, seed: int) -> dict[str, np.ndarray]:
    """Weights and their provenance, ready to be saved."""
    rows, emotion = dataset(clips, seed)
    held = np.arange(clips) // len(EMOTIONS) % HELD_OUT == 0
    trained = EmotionJudge(fit(rows[~held], emotion[~held]))
    share = float((trained.classify(rows[held]).argmax(axis=1) == emotion[held]).mean())
    about = {
        "data": "simulated faces",
        "clips": clips,
        "frames": FRAMES,
        "seed": seed,
        "ridge": RIDGE,
        "simulated_accuracy": round(share, 3),
    }
    weights = {name: np.float32(value) for name, value in fit(rows, emotion).items()}
    return {**weights, "provenance": np.array(json.dumps(about))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], prog="python -m tools.judge_training.emotion"
    )
    parser.add_argument(
        "--clips",
        type=int,
        default=2400,
        help="simulated clips, a multiple of 8 (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parents[2] / "evaluation" / "assets" / WEIGHTS
    )
    options = parser.parse_args(arguments)
    arrays = train(options.clips, options.seed)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    temporary = options.out.with_suffix(".part")
    temporary.write_bytes(buffer.getvalue())
    move_into_place(temporary, options.out)
    print(f"{options.out}: {arrays['provenance']}")


if __name__ == "__main__":
    main()
