"""Fine levels: known levels come back in order, and the copy is a valid set."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import spearmanr

from datamodules.corpus.emotion_acting import ActingStyle, acted_emotion
from datamodules.shards.fine_levels import RankedClip, add_levels, find_levels
from datamodules.shards.index import INDEX, read_index
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import SampleMeta
from datamodules.shards.verify import verify
from datamodules.shards.writer import ShardWriter
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import AU_NAMES, BUILTIN, EXP_NAMES, read_aus
from emo_lightning.motion.emotions import EMOTIONS, prototype_exp


def moved(sample, emotion: str, strength: float, resting: float = 0.0):
    """Give a sample the units of an emotion, on top of what the person's face holds at rest."""
    sample.au[:] = resting + strength * read_aus(prototype_exp(emotion, EXP_NAMES))
    return sample


@pytest.fixture
def annotated(tmp_path, make_sample):
    """Happy clips of two people, one smiling at rest; some neutral, one rare, one unlabelled."""
    with ShardWriter(tmp_path / "set", samples_per_shard=8) as writer:
        for number in range(20):
            smiles = number % 2
            one = make_sample(number, 20 + number, f"s{smiles}", emotion="happy", intensity=2)
            writer.add(moved(one, "happy", 0.4 + 0.01 * number, 0.3 * smiles))
        for smiles in range(2):
            writer.add(
                moved(
                    make_sample(20 + smiles, 20, f"s{smiles}", emotion="neutral"),
                    "happy",
                    0.0,
                    0.3 * smiles,
                )
            )
        writer.add(make_sample(30, 20, "s0", emotion="sad", intensity=3))
        writer.add(make_sample(31, 20, "s0"))
        for number in (40, 41):
            level = make_sample(number, 20, "s9", "val", emotion="happy", intensity=2)
            writer.add(moved(level, "happy", 0.0 if number == 40 else 0.9))
        writer.fail("no_face")
        writer.finish({"version": "1"}, ["a note"])
    return tmp_path / "set"


def test_quantiles_of_movement_beyond_the_persons_own_rest(annotated, tmp_path):
    index = add_levels(annotated, tmp_path / "out")
    levels = {sample.key: sample.meta.level for sample in iter_samples(tmp_path / "out", parts=())}
    assert [levels[f"clip-{n:03d}"] for n in range(20)] == [float(6 + n // 4) for n in range(20)]
    assert levels["clip-020"] is None and levels["clip-031"] is None
    assert levels["clip-030"] == 13.0  # alone in its bucket: the middle of its intensity
    assert (levels["clip-040"], levels["clip-041"]) == (6.0, 10.0)
    assert index.emotions["happy"] == {"6": 5, "7": 4, "8": 4, "9": 4, "10": 5}
    record = json.loads((tmp_path / "out" / INDEX).read_text())["provenance"]
    assert record["version"] == "1" and len(record["levels"]["index_sha256"]) == 64
    happy = record["levels"]["buckets"]["happy"]["2"]
    assert (
        happy["clips"] == 22
        and happy["quantiles_of"] == "train"
        and happy["edges"] == sorted(happy["edges"])
    )
    assert happy["levels"] == {"6": 5, "7": 4, "8": 4, "9": 4, "10": 5}
    assert record["levels"]["buckets"]["sad"]["3"]["edges"] is None
    assert record["levels"]["without_level"] == 3
    assert len(record["levels"]["directions"]["happy"]) == len(AU_NAMES)
    assert index.failures == {"no_face": 1} and index.notes[0] == "a note"


def test_the_copy_is_a_sound_set_with_all_else_as_it_was(annotated, tmp_path):
    index = add_levels(annotated, tmp_path / "out")
    assert verify(tmp_path / "out").findings == []
    for before, after in zip(iter_samples(annotated), iter_samples(tmp_path / "out"), strict=True):
        assert before.key == after.key and before.video == after.video
        np.testing.assert_array_equal(before.wave, after.wave)
        np.testing.assert_array_equal(before.landmarks, after.landmarks)
        assert after.meta.extra.get("level", {}).get("before") is None
    add_levels(annotated, tmp_path / "again")
    assert [shard.sha256 for shard in read_index(tmp_path / "again").shards] == [
        shard.sha256 for shard in index.shards
    ]


def test_what_cannot_be_levelled_is_refused(annotated, shard_set, tmp_path, make_sample):
    with pytest.raises(UserError, match="holds a finished"):
        add_levels(annotated, annotated)
    with pytest.raises(UserError, match="holds a finished"):
        add_levels(annotated, shard_set)
    with ShardWriter(tmp_path / "plain") as writer:
        writer.add(make_sample(0, 20))
        writer.finish()
    with pytest.raises(UserError, match="nothing to rank"):
        add_levels(tmp_path / "plain", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_bad_sample_is_counted_and_left_out(annotated, tmp_path):
    path = annotated / "light-train-000001.tar"
    path.write_bytes(path.read_bytes().replace(b'"fps":25.0', b'"fps":24.0', 1))
    index = add_levels(annotated, tmp_path / "out")
    assert index.failures == {"bad_meta": 1, "no_face": 1} and index.samples == 25


def test_true_levels_of_acted_emotions_come_back_in_order():
    clips, true = [], {}
    for speaker in range(3):
        style = ActingStyle.sample(np.random.default_rng(speaker))
        for emotion in EMOTIONS:
            for level in [None] if emotion == "neutral" else range(1, 16):
                key = f"{speaker}-{emotion}-{level}"
                true[key] = level
                rng = np.random.default_rng(len(clips))
                exp = acted_emotion(emotion, level, 50, style, rng) + style.resting
                units = read_aus(exp.mean(0)).astype(np.float64)
                intensity = level and (level - 1) // 5 + 1
                labels = {"emotion": emotion, "intensity": intensity}
                meta = SampleMeta("test", f"s{speaker}", 50, BUILTIN.to_dict(), **labels)
                clips.append(RankedClip(key, meta, units))
    found = find_levels(clips)
    assert set(found.levels) == {key for key, level in true.items() if level}
    pairs = [(level, true[key]) for key, level in found.levels.items()]
    assert spearmanr(*zip(*pairs, strict=True)).statistic > 0.95
    assert np.mean([abs(level - was) for level, was in pairs]) < 1.0
    assert {level for level, _ in pairs} == set(range(1, 16))
    assert all((level - 1) // 5 == (was - 1) // 5 for level, was in pairs)
