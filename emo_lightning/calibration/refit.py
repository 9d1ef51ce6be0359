"""Ridge regression of the readout towards the shipped one; its strength is cross-validated.

Minimised is ``mean_n |x_n D + d - (y_n - y0_n)|^2 + strength |D|^2``: D and d are the change of
weights and bias, y0 the shipped readout's output, so without evidence nothing changes. Frames of
silence keep the mouth still in pauses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from emo_lightning.calibration.dataset import (
    CalibrationFrames,
    Readout,
    SpeechFeatures,
    fold_of,
    training_frames,
)
from emo_lightning.calibration.lips import CLOSED, LipScore, ScoreSums, lip_closures

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BIAS_ONLY = 1e6
"""A strength at which only the bias changes."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
GAINS = (1.0, 1.1, 1.2, 1.35, 1.5, 1.7, 2.0, 2.3, 2.6)
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
MIN_GATE = 0.5
SILENCE_SHARE = 0.1
"""Weight of silence in the fit, as a share of the recording."""
ERROR_PRICE, CLOSED_PRICE, R_PRICE = 0.25, 3.0, 3.0
"""Our weights of error, of wrongly closed time and of correlation against log amplitude."""
TOLERANCE = 0.01
OPENING = ("AU10", "AU16", "AU17", "AU25", "AU26", "jaw", "funnel", "press", "tuck")
WIDTH = ("AU12_L", "AU12_R", "AU14_L", "AU14_R", "AU15", "AU20", "AU23", "pucker")
GROUPS = {"opening": OPENING, "width": WIDTH}
LIDS = ("AU45_L", "AU45_R")


@dataclass(frozen=True)
class MouthAmplitude:
    """Gain of the mouth's movement, which ridge regression shrinks.

    Attributes:
        opening: gain of the units that open the mouth, about their mean.
        width: gain of the units that widen it.
        shift: standard deviations taken off the opening units. Units end at 0, so the mouth closes
            more often.
    """

    opening: float = 1.0
    width: float = 1.0
    shift: float = 0.0

    def apply(self, readout: Readout, frames: CalibrationFrames, names: Sequence[str]) -> Readout:
        """The readout with this amplitude over some frames."""
        opens = np.array([name in OPENING for name in names])
        widens = np.array([name in WIDTH for name in names])
        gain = np.where(opens, self.opening, np.where(widens, self.width, 1.0))
        moved = readout.scaled(gain, frames.centre)
        spread = np.sqrt(np.einsum("ef,fg,eg->e", moved.weight, frames.covariance, moved.weight))
        return Readout(moved.weight, moved.bias - self.shift * spread * opens)


@dataclass(frozen=True)
class RefitResult:
    """A refitted readout, and what was chosen.

    Attributes:
        readout: the result.
        groups: strength and share of the change, for units that open and that widen the mouth.
        amplitude: see :class:`MouthAmplitude`.
        habits: strength for each other unit; None keeps the shipped one.
        cross_validated: score of the refit on the fitting part, by folds.
        shipped: the shipped readout's score there.
    """

    readout: Readout
    groups: dict[str, tuple[float, float]]
    amplitude: MouthAmplitude
    habits: dict[str, float | None]
    cross_validated: LipScore
    shipped: LipScore


class RidgeSolver:
    """One training set, decomposed once for every strength.

    Args:
        frames: the training set.
        silence: features without audio.
        shipped: readout that silence is held to.
        toward_shipped: regularise towards the shipped weights, towards zero otherwise.
    """

    def __init__(
        self,
        frames: CalibrationFrames,
        silence: SpeechFeatures,
        shipped: Readout,
        toward_shipped: bool = True,
    ) -> None:
        zero = Readout(np.zeros_like(shipped.weight), np.zeros_like(shipped.bias))
        start = self._start = shipped if toward_shipped else zero
        speech = frames.speech
        # Where closure gates a unit off, the video says nothing of the ungated movement.
        ungated = (frames.exp - speech.offset) / np.maximum(speech.gate, MIN_GATE)
        target = np.where(speech.gate > MIN_GATE, ungated - speech.speech(start), 0.0)
        still = silence.features[:, 0]
        calm = still @ (shipped.weight - start.weight).T + shipped.bias - start.bias
        x, y = np.concatenate([*speech.features, still]), np.concatenate([*target, calm])
        count = len(x) - len(still)
        weight = np.repeat([1.0 / count, SILENCE_SHARE / len(still)], [count, len(still)])
        weight /= weight.sum()
        self._mean_x, self._mean_y = weight @ x, weight @ y
        x, y = x - self._mean_x, y - self._mean_y
        weighted = (x * weight[:, None]).T
        values, self._axes = np.linalg.eigh(weighted @ x)
        self._values, self._cross = np.maximum(values, 0.0), self._axes.T @ (weighted @ y)

    def solve(self, strength: float) -> Readout:
        """The readout for one strength."""
        change = (self._axes @ (self._cross / (self._values + strength)[:, None])).T
        bias = self._start.bias + self._mean_y - change @ self._mean_x
        return Readout(self._start.weight + change, bias)


def refit(
    frames: CalibrationFrames,
    silence: SpeechFeatures,
    shipped: Readout,
    names: Sequence[str],
    margin: int,
    toward_shipped: bool = True,
    style_only: bool = False,
) -> RefitResult:
    """Choose all strengths by cross-validation over blocks, then fit to all frames.

    Args:
        frames: the fitting part.
        silence: features without audio.
        shipped: the readout to start from.
        names: of the expression coefficients.
        margin: frames between training and validation.
        toward_shipped: see :class:`RidgeSolver`.
        style_only: keep the shape of movement; fit the resting face, habits and amplitude.
    """
    folds = _Folds(frames, silence, shipped, margin, toward_shipped)
    before, trajectory = folds.score(shipped for _ in folds.splits)
    strengths = (BIAS_ONLY,) if style_only else STRENGTHS
    table = {}
    for strength in strengths:
        for share in SHARES:
            mixed = (shipped.interpolated(ridge[strength], share) for *_, ridge in folds.splits)
            table[strength, share] = folds.score(mixed)[0]
    groups = {
        group: _smallest_change({c: _value(score, k) for c, score in table.items()})
        for k, group in enumerate(GROUPS)
    }
    near = [
        (_merge_groups(shipped, ridge.__getitem__, groups, names), frames[training])
        for _, training, ridge in folds.splits
    ]
    amplitude = _choose_amplitude(near, names, folds, trajectory[:, 0])
    expected, _ = folds.score(amplitude.apply(one, others, names) for one, others in near)
    habits = _choose_habits(folds, names, strengths if style_only else (*STRENGTHS, BIAS_ONLY))
    ridge = RidgeSolver(frames, silence, shipped, toward_shipped)
    readout = amplitude.apply(_merge_groups(shipped, ridge.solve, groups, names), frames, names)
    for unit, strength in habits.items():
        if strength is not None:
            chosen = np.array([name == unit for name in names])
            readout = readout.merged(ridge.solve(strength), chosen)
    return RefitResult(readout, groups, amplitude, habits, expected, before)


class _Folds:
    """Cross-validation: ``splits`` of (validation rows, other rows, readout by strength)."""

    def __init__(
        self,
        frames: CalibrationFrames,
        silence: SpeechFeatures,
        shipped: Readout,
        margin: int,
        toward_shipped: bool,
    ) -> None:
        self.frames, self.shipped, self.splits = frames, shipped, []
        fold = fold_of(frames.index)
        for number in np.unique(fold):
            training = training_frames(frames.index, fold == number, margin)
            if training.any():
                ridge = RidgeSolver(frames[training], silence, shipped, toward_shipped)
                readouts = {s: ridge.solve(s) for s in (*STRENGTHS, BIAS_ONLY)}
                rows = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
                self.splits.append((*rows, readouts))
        self.rows = np.concatenate([validation for validation, *_ in self.splits])
        self.lips, self.block = frames.lips[self.rows], frames.index.block[self.rows]

    def score(self, readouts: Iterable[Readout]) -> tuple[LipScore, np.ndarray]:
        """Score and predicted lips ``(n, 2)`` of one readout per fold, on its validation rows."""
        pairs = zip(self.splits, readouts, strict=True)
        predicted = [self.frames[split[0]].predicted_lips(readout) for split, readout in pairs]
        predicted = np.concatenate(predicted)
        return ScoreSums.of(predicted, self.lips, self.block).score(), predicted

    def squared_errors(self, readouts: Iterable[Readout]) -> np.ndarray:
        """Mean squared error of each expression coefficient, ``(E,)``."""
        errors = []
        for (validation, *_), readout in zip(self.splits, readouts, strict=True):
            frames = self.frames[validation]
            errors.append((frames.speech.expression(readout) - frames.exp) ** 2)
        return np.mean(np.concatenate(errors), axis=0)


def _value(score: LipScore, column: int) -> float:
    return float(score.r[column] - ERROR_PRICE * score.error[column])


def _smallest_change(value: dict[tuple[float, float], float]) -> tuple[float, float]:
    """Of the (strength, share) nearly as good as the best, the one that changes least."""
    best = max(value.values())
    good = (choice for choice, v in value.items() if v >= best - TOLERANCE)
    return min(good, key=lambda choice: (-choice[0], choice[1]))


def _merge_groups(
    shipped: Readout,
    solve: Callable[[float], Readout],
    groups: dict[str, tuple[float, float]],
    names: Sequence[str],
) -> Readout:
    """The shipped readout with each group's units changed as chosen."""
    readout = shipped
    for group, (strength, share) in groups.items():
        units = np.array([name in GROUPS[group] for name in names])
        readout = readout.merged(shipped.interpolated(solve(strength), share), units)
    return readout


def _choose_amplitude(
    near: Sequence[tuple[Readout, CalibrationFrames]],
    names: Sequence[str],
    folds: _Folds,
    shipped_opening: np.ndarray,
) -> MouthAmplitude:
    """The gains that bring spread and closed time of the mouth nearest to the person's."""
    tracked = folds.lips[:, 0]
    closed_share = float((tracked < CLOSED).mean())
    closures = lip_closures(shipped_opening, tracked, folds.block).net

    def loss(amplitude: MouthAmplitude) -> float:
        score, lips = folds.score(amplitude.apply(one, others, names) for one, others in near)
        opening = lips[:, 0]
        lost = max(closures - lip_closures(opening, tracked, folds.block).net, 0.0)
        closed = abs(float((opening < CLOSED).mean()) - closed_share) + lost
        spread = np.abs(np.log(np.maximum(score.amplitude, 1e-6))).sum()
        penalty = CLOSED_PRICE * closed + ERROR_PRICE * score.error.sum() - R_PRICE * score.r.sum()
        return float(spread + penalty)

    best = MouthAmplitude()
    for _ in range(2):
        openings = [replace(best, opening=gain, shift=low) for gain in GAINS for low in SHIFTS]
        best = min(openings, key=loss)
        best = min((replace(best, width=gain) for gain in GAINS), key=loss)
    return best


def _choose_habits(
    folds: _Folds, names: Sequence[str], strengths: Sequence[float]
) -> dict[str, float | None]:
    """For each unit of brows, cheeks, nose the strength of least error; None keeps the shipped."""
    errors = [folds.squared_errors(folds.shipped for _ in folds.splits)]
    for strength in strengths:
        errors.append(folds.squared_errors(ridge[strength] for *_, ridge in folds.splits))
    best = np.stack(errors).argmin(0)
    others = [k for k, name in enumerate(names) if name not in (*OPENING, *WIDTH, *LIDS)]
    return {names[k]: None if best[k] == 0 else strengths[best[k] - 1] for k in others}
