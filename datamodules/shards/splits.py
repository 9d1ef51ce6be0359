"""Splits by speaker: a property of the name alone, so no voice or face is in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

VAL_SHARE, TEST_SHARE = 0.1, 0.1


def assign_splits(speakers: Iterable[str]) -> dict[str, str]:
    """Split of each speaker by a hash of the name: a tenth each for val and test, else train.

    Adding a speaker moves no other, except that a corpus of two speakers or more always has train
    and val: where the hashes leave one of them empty, the nearest speaker goes there. A single
    speaker is in train.
    """
    places = {}
    for name in speakers:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        places[name] = int.from_bytes(digest[:8], "big") / 2.0**64
    splits = {
        name: "val" if p < VAL_SHARE else "test" if p < VAL_SHARE + TEST_SHARE else "train"
        for name, p in places.items()
    }
    ordered = sorted(places, key=lambda name: (places[name], name))
    if ordered and "train" not in splits.values():
        splits[ordered[-1]] = "train"
    if len(ordered) > 1 and "val" not in splits.values():
        splits[ordered[0]] = "val"
    return splits
