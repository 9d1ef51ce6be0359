"""Phones of every synthesiser spelt alike, frame by frame."""

from __future__ import annotations

import pytest

from datamodules.shards.phones import NAMES, SILENCE, frame_phones, phone_class


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("ˈɑː", "AA"),
        ("ɔːɹ", "AO"),
        ("tʃ", "CH"),
        ("ʧ", "CH"),
        ("t", "T"),
        ("eɪ", "EY"),
        ("A", "EY"),
        ("ˌaɪɚ", "AY"),
        ("ð", "DH"),
    ],
)
def test_symbols_of_both_synthesisers_have_one_name(symbol: str, name: str) -> None:
    assert NAMES[phone_class(symbol)] == name


def test_silence_and_unknown_symbols_are_silence() -> None:
    assert phone_class("") == phone_class("!") == SILENCE and len(NAMES) == 40


def test_frames_take_the_phone_at_their_middle() -> None:
    phones = [["", 0.0, 0.05], ["m", 0.05, 0.11], ["æ", 0.11, 0.2]]
    assert [NAMES[c] for c in frame_phones(phones, 6)] == ["", "M", "M", "AE", "AE", "AE"]
