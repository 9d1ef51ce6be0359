"""Blind labels: shuffled strips of three frames without a caption, and the score of the labels."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks._level_videos import Booth
from benchmarks._shared import wilson
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS

KEY, LABELS = "key.json", "labels.csv"
FIELDS = ("strip", "emotion", "unnatural")
MOMENTS = (0.35, 0.6, 0.85)
"""Shares of the recording at which frames are shown."""


def write_strips(
    booth: Booth, portraits: Sequence[Path], wave: np.ndarray, folder: Path, size: int, level: float
) -> None:
    """Strips ``000.png`` ... of every portrait and emotion, a table to fill in, and the key."""
    folder.mkdir(parents=True, exist_ok=True)
    strips = []
    for path in portraits:
        speaker = booth.seat(path, size)
        for emotion in EMOTIONS:
            spoken = booth.speak(speaker, wave, emotion, level, head_motion=True)
            shown = [int(share * len(spoken)) for share in MOMENTS]
            frames = list(booth.draw(speaker, spoken.frames(shown)))
            strips.append(({"portrait": path.stem, "emotion": emotion}, np.hstack(frames)))
    order = np.random.default_rng().permutation(len(strips))
    for number, place in enumerate(order):
        cv2.imwrite(str(folder / f"{number:03d}.png"), strips[place][1][..., ::-1])
    key = {f"{number:03d}": strips[place][0] for number, place in enumerate(order)}
    (folder / KEY).write_text(json.dumps(key, indent=1), encoding="utf-8")
    with (folder / LABELS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([FIELDS, *([name, "", ""] for name in key)])
    print(f"wrote {len(key)} strips; fill in {folder / LABELS} and run this again for the score")


def print_score(folder: Path) -> bool:
    """Print how many labels are right and strips unnatural; False where nothing is labelled yet.

    Raises:
        UserError: a label that is no emotion, or a strip that the key lacks.
    """
    if not (folder / LABELS).is_file() or not (folder / KEY).is_file():
        return False
    key = json.loads((folder / KEY).read_text(encoding="utf-8"))
    with (folder / LABELS).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["emotion"] or "").strip()]
    for row in rows:
        if row["strip"] not in key or row["emotion"].strip() not in EMOTIONS:
            accepted = f"a strip of {KEY} and one of {', '.join(EMOTIONS)}"
            raise UserError("--blind", folder / LABELS, accepted, f"has the row {dict(row)}")
    pairs = Counter((key[row["strip"]]["emotion"], row["emotion"].strip()) for row in rows)
    if not pairs:
        return False
    right = sum(count for (wanted, found), count in pairs.items() if wanted == found)
    low, high = wilson(right, len(rows))
    print(f"right in {right} of {len(rows)} ({right / len(rows):.2f}, 95 % {low:.2f}-{high:.2f})")
    for (wanted, found), count in sorted(pairs.items()):
        if wanted != found:
            print(f"{wanted} taken for {found}: {count}")
    marked = sum(bool((row["unnatural"] or "").strip()) for row in rows)
    print(f"unnatural: {marked} of {len(rows)}")
    return True
