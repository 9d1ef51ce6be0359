"""Probes: small classifiers on frozen features, which find what the features hold.
 Multinomial logistic regression, its penalty chosen on training groups held back, and a perceptron
of one hidden layer, stopped early on them. Accuracy is the mean recall over the classes, so chance
is one in the number of classes whatever their shares; the 95 % interval resamples whole clips.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

KINDS = ("logistic", "perceptron")
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
HIDDEN, EPOCHS, BATCHES, PATIENCE = 64, 60, 12, 12
RESAMPLES = 1000
HELD_BACK = 5
"""One in so many training groups chooses the penalty or the epoch."""


@dataclass(frozen=True)
class Problem:
    """What a probe must find.

    Attributes:
        features: ``(N, D)`` float32, one row a frame or a clip.
        labels: ``(N,)`` int, from 0.
        clips: ``(N,)`` int, the clip that a row is of; rows of one clip are resampled together.
        groups: ``(N,)`` int; training rows of one group (a speaker, a sentence) are held back
            together.
        train, test: ``(N,)`` bool.
    """

    features: np.ndarray
    labels: np.ndarray
    clips: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    test: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Score:
    """Mean recall with its 95 % interval and chance; ``spread`` is that of seeds.

    ``right`` and ``total`` (clips, classes) count the rows that were tested and those that were
    right, mean of the seeds.
    """

    accuracy: float
    low: float
    high: float
    chance: float
    spread: float
    right: np.ndarray
    total: np.ndarray

    @property
    def clips(self) -> int:
        return len(self.total)

    def __str__(self) -> str:
        return f"{self.accuracy:.2f} [{self.low:.2f}, {self.high:.2f}]"


def probe(
    problems: Problem | Sequence[Problem], kind: str, seeds: Sequence[int] = (0, 1, 2)
) -> Score:
    """Fit with each seed and score on the test rows; several problems are folds whose test rows are
    scored together.
    """
    folds = [problems] if isinstance(problems, Problem) else list(problems)
    labels = np.concatenate([fold.labels[fold.test] for fold in folds])
    clips = np.concatenate([fold.clips[fold.test] for fold in folds])
    hits = np.stack(
        [np.concatenate([predict(fold, kind, seed) for fold in folds]) == labels for seed in seeds]
    )
    right, total = tally(hits.mean(axis=0), labels, clips)
    low, high = np.percentile(resampled(right, total), (2.5, 97.5))
    each = [recall(row, labels) for row in hits]
    chance = 1.0 / len(np.unique(labels))
    return Score(
        float(np.mean(each)), float(low), float(high), chance, float(np.std(each)), right, total
    )


def difference(first: Score, second: Score) -> tuple[float, float, float]:
    """``first``'s accuracy less ``second``'s with its 95 % interval, both tested on the same clips."""
    drawn = resampled(first.right, first.total) - resampled(second.right, second.total)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return first.accuracy - second.accuracy, float(low), float(high)


def predict(problem: Problem, kind: str, seed: int) -> np.ndarray:
    """Class of every test row by a probe fitted to the training rows."""
    generator = np.random.default_rng([seed, 11])
    held = _held_back(problem, generator)
    fit = torch.from_numpy(np.flatnonzero(problem.train & ~held))
    check = torch.from_numpy(np.flatnonzero(problem.train & held))
    x, y = torch.from_numpy(problem.features).float(), torch.from_numpy(problem.labels).long()
    mean, std = x[fit].mean(dim=0), x[fit].std(dim=0)
    # A feature that never moves in training says nothing; dividing by its spread would make noise
    # of it.
    x = torch.where(std > 1e-6, (x - mean) / std.clamp_min(1e-6), torch.zeros(())).clamp(-8, 8)
    torch.manual_seed(seed)
    model = {"logistic": _logistic, "perceptron": _perceptron}[kind](
        x, y, fit, check, problem.classes
    )
    with torch.no_grad():
        return model(x[torch.from_numpy(problem.test)]).argmax(dim=1).numpy()


def recall(hits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes of the share that was right."""
    total = np.bincount(labels)
    return float((np.bincount(labels, hits)[total > 0] / total[total > 0]).mean())


def tally(hits: np.ndarray, labels: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that were right and all rows, each ``(clips, classes)``, the clips in order of their
    numbers.
    """
    names, place = np.unique(clips, return_inverse=True)
    shape = (len(names), int(labels.max()) + 1)
    cell = place * shape[1] + labels
    right, total = (
        np.bincount(cell, weights, minlength=shape[0] * shape[1]) for weights in (hits, None)
    )
    return right.reshape(shape).astype(float), total.reshape(shape).astype(float)


def resampled(right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """:func:`recall` over clips drawn with replacement, ``(RESAMPLES,)``; the same draws for the
    same number of clips.
    """
    count, generator = len(total), np.random.default_rng(0)
    drawn = generator.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES).astype(float)
    rows = drawn @ total
    return np.nanmean(np.where(rows > 0, drawn @ right / np.maximum(rows, 1e-9), np.nan), axis=1)


def _held_back(problem: Problem, generator: np.random.Generator) -> np.ndarray:
    groups = generator.permutation(np.unique(problem.groups[problem.train]))
    return np.isin(problem.groups, groups[: max(1, len(groups) // HELD_BACK)])


def _logistic(x: Tensor, y: Tensor, fit: Tensor, check: Tensor, classes: int) -> nn.Module:
    """Full-batch L-BFGS; from the strongest penalty to the weakest, each starting where the last
    one ended.
    """
    model = nn.Linear(x.shape[1], classes)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    best, kept = -1.0, model
    for penalty in reversed(PENALTIES):
        _minimise(model, x[fit], y[fit], penalty)
        score = _accuracy(model, x[check], y[check])
        if score > best:
            best, kept = score, copy.deepcopy(model)
    return kept


def _minimise(model: nn.Linear, x: Tensor, y: Tensor, penalty: float) -> None:
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=30, history_size=6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y) + 0.5 * penalty * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]


def _perceptron(x: Tensor, y: Tensor, fit: Tensor, check: Tensor, classes: int) -> nn.Module:
    model = nn.Sequential(
        nn.Linear(x.shape[1], HIDDEN), nn.GELU(), nn.Dropout(0.2), nn.Linear(HIDDEN, classes)
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    best, kept, waited = -1.0, copy.deepcopy(model).eval(), 0
    for _ in range(EPOCHS):
        model.train()
        for rows in fit[torch.randperm(len(fit))].split(max(16, len(fit) // BATCHES)):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        score = _accuracy(model.eval(), x[check], y[check])
        waited += 1
        if score > best:
            best, kept, waited = score, copy.deepcopy(model), 0
        elif waited > PATIENCE:
            break
    return kept


@torch.no_grad()
def _accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return recall((model(x).argmax(dim=1) == y).numpy(), y.numpy()) if len(y) else 0.0
