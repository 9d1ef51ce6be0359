"""Short everyday sentences, written for this corpus, without emotional content.

Every fifth is held out, for the speakers of val and test.
"""

from __future__ import annotations

from pathlib import Path

_FILE = Path(__file__).parent / "assets" / "sentences.txt"
SENTENCES: tuple[str, ...] = tuple(_FILE.read_text(encoding="utf-8").splitlines())
HELD_OUT: tuple[str, ...] = SENTENCES[4::5]
TRAIN: tuple[str, ...] = tuple(sentence for sentence in SENTENCES if sentence not in HELD_OUT)
