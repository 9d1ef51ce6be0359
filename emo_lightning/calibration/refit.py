"""Ridge regression of the read-out that pulls towards the shipped one, and how far to go, chosen inside the fitting part.

Minimised is ``mean_n |x_n D + d - (y_n - y0_n)|^2 + strength |D|^2``: D and d are the change of weights and bias, y0 what the
shipped read-out says, so without evidence nothing changes. Rows of silence keep the mouth still where nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emo_lightning.calibration.dataset import Rows
from emo_lightning.calibration.features import Heard, Readout
from emo_lightning.calibration.lip_closures import CLOSED, closings
from emo_lightning.calibration.score import Score, Sums
from emo_lightning.calibration.splits import apart_from, fold_of

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
HABIT_ALONE = 1e6
"""A strength at which only the bias moves."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
GAINS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.3, 2.6)
LOWERED = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
LEAST_HELD = 0.5
SILENCE_SHARE = 0.1
"""Weight of silence in the fit, as a share of the film."""
ERROR_PRICE = 0.25
"""What a unit of error, over the real spread, costs against a unit of correlation when choosing. Ours."""
CLOSED_PRICE = 3.0
"""What a share of time closed too much or too little costs against a logarithm of the amplitude when choosing. Ours."""
NEARLY = 0.01
R_PRICE = 3.0
"""The same of correlation, which is lost where units are cut at 0."""
OPENING = ("AU10", "AU16", "AU17", "AU25", "AU26", "jaw", "funnel", "press", "tuck")
WIDTH = ("AU12_L", "AU12_R", "AU14_L", "AU14_R", "AU15", "AU20", "AU23", "pucker")
GROUPS = {"opening": OPENING, "width": WIDTH}
LIDS = ("AU45_L", "AU45_R")


@dataclass(frozen=True)
class Movement:
    """How far a mouth moves. A ridge moves less, and hardly ever closes it.

    ``opening`` and ``width`` multiply the movement of the units that open and that widen the mouth about its mean; ``lowered`` takes so
    many standard deviations of it off the opening ones, which close the mouth more often since a unit ends at 0.
    """

    opening: float = 1.0
    width: float = 1.0
    lowered: float = 0.0

    def put_into(self, readout: Readout, rows: Rows, names: Sequence[str]) -> Readout:
        """The read-out with that much movement over some rows."""
        opens = np.array([name in OPENING for name in names])
        gain = np.where(
            opens, self.opening, np.where([name in WIDTH for name in names], self.width, 1.0)
        )
        moved = readout.stretched(gain, rows.centre)
        spread = np.sqrt(np.einsum("ef,fg,eg->e", moved.weight, rows.covariance, moved.weight))
        return Readout(moved.weight, moved.bias - self.lowered * spread * opens)


@dataclass(frozen=True)
class Fit:
    """A refitted read-out, and how it was chosen.

    Attributes:
        readout: what came of it.
        pulls: for the units that open and those that widen the mouth, strength and share of the way from the shipped weights.
        movement: how far the mouth moves, see :class:`Movement`.
        habits: for each other unit the strength chosen; None keeps the shipped one.
        expected: scores inside the fitting part, in turns.
        shipped: the shipped one's there.
    """

    readout: Readout
    pulls: dict[str, tuple[float, float]]
    movement: Movement
    habits: dict[str, float | None]
    expected: Score
    shipped: Score


class Ridge:
    """One fitting set, solved once for every strength.

    Args:
        rows: the film.
        silence: features without sound.
        shipped: what silence keeps to, and the weights to pull to.
        pull: False pulls to zero weights instead, as an ordinary ridge does.
    """

    def __init__(self, rows: Rows, silence: Heard, shipped: Readout, pull: bool = True) -> None:
        start = self._start = (
            shipped if pull else Readout(np.zeros_like(shipped.weight), np.zeros_like(shipped.bias))
        )
        heard = rows.heard
        # Where closing holds a unit back, the film says nothing of what speech alone would be.
        goal = np.where(
            heard.held > LEAST_HELD,
            (rows.exp - heard.added) / np.maximum(heard.held, LEAST_HELD) - heard.speech(start),
            0.0,
        )
        still = silence.features[:, 0]
        calm = still @ (shipped.weight - start.weight).T + shipped.bias - start.bias
        x = np.concatenate([*heard.features, still])
        y = np.concatenate([*goal, calm])
        film = len(x) - len(still)
        weight = np.repeat([1.0 / film, SILENCE_SHARE / len(still)], [film, len(still)])
        weight /= weight.sum()
        self._mean_x, self._mean_y = weight @ x, weight @ y
        x, y = x - self._mean_x, y - self._mean_y
        weighted = (x * weight[:, None]).T
        values, self._axes = np.linalg.eigh(weighted @ x)
        self._values, self._cross = np.maximum(values, 0.0), self._axes.T @ (weighted @ y)

    def solved(self, strength: float) -> Readout:
        """The read-out for one strength."""
        change = (self._axes @ (self._cross / (self._values + strength)[:, None])).T
        return Readout(
            self._start.weight + change, self._start.bias + self._mean_y - change @ self._mean_x
        )


def refit(
    rows: Rows,
    silence: Heard,
    shipped: Readout,
    names: Sequence[str],
    gap: int,
    pull: bool = True,
    style_alone: bool = False,
) -> Fit:
    """Choose by turns of the fitting blocks and fit to all of them.

    Args:
        rows: the fitting part.
        silence: features without sound.
        shipped: the read-out to start from.
        names: of the expression coefficients.
        gap: frames between what is fitted and what is judged.
        pull: see :class:`Ridge`.
        style_alone: leave the shape of movement as it is, and fit the resting face, the habits and how far the mouth moves.
    """
    turns = list(_turns(rows, silence, shipped, gap, pull))
    done = np.concatenate([judging for judging, _ in turns])
    truth, block = rows.lips[done], rows.frames.block[done]

    def tried(make: Iterable[Readout]) -> tuple[Score, np.ndarray]:
        ours = np.concatenate(
            [
                rows[judging].said_lips(readout)
                for (judging, _), readout in zip(turns, make, strict=True)
            ]
        )
        return Sums.of(ours, truth, block).score(), ours

    before, course = tried(shipped for _ in turns)
    choices = [
        (strength, share)
        for strength in ((HABIT_ALONE,) if style_alone else STRENGTHS)
        for share in SHARES
    ]
    table = {
        (strength, share): tried(shipped.mixed(ridge[strength], share) for _, ridge in turns)[0]
        for strength, share in choices
    }
    # Opening and width hang on units of their own, and each is worth its own pull.
    pulls = {
        group: _carefully({choice: _worth(table[choice], k) for choice in choices})
        for k, group in enumerate(GROUPS)
    }
    near = []
    for judging, ridge in turns:
        others = rows[np.setdiff1d(np.arange(len(rows)), judging)]
        near.append(
            (_pulled(shipped, lambda strength, found=ridge: found[strength], pulls, names), others)
        )
    shut = _Shut(truth[:, 0], block, course[:, 0])
    movement = _movement(near, names, tried, shut)
    expected, _ = tried(movement.put_into(one, others, names) for one, others in near)
    habits = _habits(
        rows, turns, shipped, names, (HABIT_ALONE,) if style_alone else (*STRENGTHS, HABIT_ALONE)
    )
    ridge = Ridge(rows, silence, shipped, pull)
    readout = movement.put_into(_pulled(shipped, ridge.solved, pulls, names), rows, names)
    for unit, chosen in habits.items():
        if chosen is not None:
            readout = readout.chosen(
                ridge.solved(chosen), np.array([name == unit for name in names])
            )
    return Fit(readout, pulls, movement, habits, expected, before)


_Turn = tuple[np.ndarray, dict[float, Readout]]
"""Rows that judge, and read-outs fitted to the others by strength."""
_Tried = Callable[[Iterable[Readout]], tuple[Score, np.ndarray]]
"""One read-out for each turn -> their score, and their course ``(n, 2)``."""


def _turns(rows: Rows, silence: Heard, shipped: Readout, gap: int, pull: bool) -> Iterator[_Turn]:
    fold = fold_of(rows.frames)
    for turn in np.unique(fold):
        fitting = apart_from(rows.frames, fold == turn, gap)
        if fitting.any():
            ridge = Ridge(rows[fitting], silence, shipped, pull)
            yield (
                np.flatnonzero(fold == turn),
                {s: ridge.solved(s) for s in (*STRENGTHS, HABIT_ALONE)},
            )


def _carefully(worth: dict[tuple[float, float], float]) -> tuple[float, float]:
    """Of the choices (strength, share) nearly as good as the best the one that changes least."""
    best = max(worth.values())
    return min(
        (choice for choice, value in worth.items() if value >= best - NEARLY),
        key=lambda choice: (-choice[0], choice[1]),
    )


def _worth(score: Score, column: int) -> float:
    return float(score.r[column] - ERROR_PRICE * score.error[column])


def _pulled(
    shipped: Readout,
    solved: Callable[[float], Readout],
    pulls: dict[str, tuple[float, float]],
    names: Sequence[str],
) -> Readout:
    """The shipped read-out with each group's units as far from it as chosen."""
    readout = shipped
    for group, (strength, share) in pulls.items():
        readout = readout.chosen(
            shipped.mixed(solved(strength), share),
            np.array([name in GROUPS[group] for name in names]),
        )
    return readout


class _Shut:
    """How much worse than filmed and than shipped lips are closed."""

    def __init__(self, filmed: np.ndarray, block: np.ndarray, shipped: np.ndarray) -> None:
        self._filmed, self._block = filmed, block
        self._time, self._worth = (
            float((filmed < CLOSED).mean()),
            closings(shipped, filmed, block).worth,
        )

    def loss(self, ours: np.ndarray) -> float:
        """Share of time closed too much or too little, and of closures lost."""
        lost = max(self._worth - closings(ours, self._filmed, self._block).worth, 0.0)
        return abs(float((ours < CLOSED).mean()) - self._time) + lost


def _movement(
    near: Sequence[tuple[Readout, Rows]], names: Sequence[str], tried: _Tried, shut: _Shut
) -> Movement:
    """What brings the spread of opening and width, and the time that the lips are closed, nearest to the person's."""

    def off(movement: Movement) -> float:
        score, ours = tried(movement.put_into(one, others, names) for one, others in near)
        spread = np.abs(np.log(np.maximum(score.amplitude, 1e-6))).sum()
        return float(
            spread
            + CLOSED_PRICE * shut.loss(ours[:, 0])
            + ERROR_PRICE * score.error.sum()
            - R_PRICE * score.r.sum()
        )

    best = Movement()
    for _ in range(2):
        best = min(
            (replace(best, opening=gain, lowered=low) for gain in GAINS for low in LOWERED), key=off
        )
        best = min((replace(best, width=gain) for gain in GAINS), key=off)
    return best


def _habits(
    rows: Rows,
    turns: Sequence[_Turn],
    shipped: Readout,
    names: Sequence[str],
    strengths: Sequence[float],
) -> dict[str, float | None]:
    """Brows, cheeks, nose: for each unit the strength that errs least, or None where that is no better than shipped."""

    def errors(make: Iterable[Readout]) -> np.ndarray:
        pairs = zip(turns, make, strict=True)
        return np.mean(
            np.concatenate(
                [(rows[judging].said(one) - rows.exp[judging]) ** 2 for (judging, _), one in pairs]
            ),
            axis=0,
        )

    table = np.stack(
        [
            errors(shipped for _ in turns),
            *(errors(ridge[s] for _, ridge in turns) for s in strengths),
        ]
    )
    best = table.argmin(0)
    others = [k for k, name in enumerate(names) if name not in (*OPENING, *WIDTH, *LIDS)]
    return {names[k]: None if best[k] == 0 else strengths[best[k] - 1] for k in others}
