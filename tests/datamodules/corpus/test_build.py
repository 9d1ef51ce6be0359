"""The corpus as shards: repeatable, balanced, without leaks, and readable."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")
pytest.importorskip("hibari")

from datamodules.corpus.build import build_corpus
from datamodules.corpus.script import write_script
from datamodules.corpus.sentences import HELD_OUT
from datamodules.corpus.speakers import cast
from datamodules.shards.index import read_index
from datamodules.shards.reader import iter_samples
from datamodules.shards.schema import Sample
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, read_aus
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.motion.emotions import EMOTIONS

CLIPS = 9


def digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus") / "shards"
    build_corpus(out, clips=CLIPS, seed=5, size=96)
    return out


@pytest.fixture(scope="module")
def samples(corpus: Path) -> list[Sample]:
    return list(iter_samples(corpus))


def test_same_seed_same_bytes_for_any_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    build_corpus(tmp_path / "two", clips=CLIPS, seed=5, size=96, workers=2)
    assert digests(tmp_path / "two") == digests(corpus)


def test_another_seed_is_another_corpus(tmp_path: Path) -> None:
    builds = [tmp_path / name for name in ("a", "b")]
    for seed, out in enumerate(builds):
        build_corpus(out, clips=3, seed=seed, video=False)
    first, second = (digests(out)["light-train-000000.tar"] for out in builds)
    assert first != second


def test_every_member_agrees_with_the_coefficients(samples: list[Sample]) -> None:
    assert len(samples) == CLIPS
    for sample in samples:
        coefficients = sample.coefficients
        assert (
            coefficients is not None
            and coefficients.layout == BUILTIN
            and len(coefficients) == sample.meta.frames
        )
        np.testing.assert_allclose(sample.au, read_aus(coefficients["exp"]), atol=1e-6)
        mesh = BuiltinFaceModel.load().project(coefficients)
        np.testing.assert_allclose(sample.landmarks[:, :468], mesh, atol=2e-3)
        assert (
            np.ptp(coefficients["id"], axis=0).max() == 0.0
            and coefficients["id"].any()
            and coefficients["tex"].any()
        )
        assert 2.0 <= sample.meta.frames / 25 <= 10.0
        assert sample.meta.extra["phones"][-1][2] == pytest.approx(
            len(sample.wave) / 16000, abs=1e-3
        )


def test_frames_show_a_moving_face(samples: list[Sample]) -> None:
    frames = decode_mp4_bytes(samples[0].video)
    assert frames.shape == (samples[0].meta.frames, 96, 96, 3)
    assert frames.std() > 20
    assert np.abs(np.diff(frames.astype(np.int16), axis=0)).mean() > 0.2


def test_splits_share_neither_people_nor_sentences(corpus: Path, samples: list[Sample]) -> None:
    index = read_index(corpus)
    people = [set(split["speakers"]) for split in index.splits.values()]
    assert (
        len(people) == 3
        and not people[0] & people[1]
        and not people[0] & people[2]
        and not people[1] & people[2]
    )
    said = {
        split: {s.meta.sentence for s in samples if s.meta.split == split}
        for split in ("train", "val", "test")
    }
    assert not said["train"] & set(HELD_OUT) and not said["val"] & said["test"]
    assert said["val"] | said["test"] <= set(HELD_OUT)


def test_the_script_is_balanced_and_says_one_sentence_in_all_emotions() -> None:
    people = cast(16, 0)
    lines = write_script(people, 1600, 0)
    per_emotion = Counter(line.emotion for line in lines)
    assert (
        set(per_emotion) == set(EMOTIONS)
        and max(per_emotion.values()) - min(per_emotion.values()) <= 16
    )
    train = [line for line in lines if people[line.speaker].split == "train"]
    levels = Counter((line.emotion, line.level) for line in train if line.level is not None)
    assert len(levels) == 7 * 15 and max(levels.values()) - min(levels.values()) <= 2
    assert all((line.level is None) == (line.emotion == "neutral") for line in lines)
    assert {(line.level, line.intensity) for line in train if line.level in (5, 6, 10, 11)} == {
        (5, 1),
        (6, 2),
        (10, 2),
        (11, 3),
    }
    for who in range(16):
        mine = [line for line in lines if line.speaker == who]
        assert {line.emotion for line in mine[:8]} == set(EMOTIONS) and len(
            {line.sentence for line in mine[:8]}
        ) == 1
        assert len({line.sentence for line in mine[8:16]}) >= 7


def test_a_picture_joins_the_cast(tmp_path: Path) -> None:
    skimage_data = pytest.importorskip("skimage.data")
    import imageio.v3 as imageio

    imageio.imwrite(tmp_path / "astronaut.png", skimage_data.astronaut())
    build_corpus(
        tmp_path / "out",
        clips=4,
        size=96,
        speakers=3,
        portraits=[tmp_path / "astronaut.png"],
    )
    heads = {
        s.meta.speaker: s.meta.extra["head"]
        for s in iter_samples(tmp_path / "out", parts=("coefficients",))
    }
    assert heads["p00"] == "portrait" and set(heads.values()) == {"portrait", "painted"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"clips": 0}, "--clips"),
        ({"size": 97}, "--size"),
        ({"speakers": 99}, "--speakers"),
        ({"workers": 0}, "--workers"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_wrong_arguments_are_named_before_any_work(
    arguments: dict[str, int], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=named):
        build_corpus(tmp_path / "out", **{"clips": 6, **arguments})
    assert not (tmp_path / "out").exists()


def test_a_bad_picture_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="--portrait"):
        build_corpus(tmp_path / "out", clips=6, portraits=[tmp_path / "no.png"])
    assert not (tmp_path / "out").exists()
