"""Ordinary videos become shards; whatever cannot is told apart by reason, and nothing else is lost."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
import soundfile
from skimage.data import astronaut

from datamodules.preprocessing.face_tracking import ClipError, fill_gaps
from datamodules.preprocessing.pipeline import Settings, preprocess
from datamodules.shards.index import read_index
from datamodules.shards.reader import iter_samples
from datamodules.sources import open_source
from emo_lightning.core.errors import UserError
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import read_aus
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.media.video_writer import write_video

FRAMES = 15


def nodding(count: int, size: int = 256) -> list[np.ndarray]:
    """A face that drifts and comes nearer."""
    picture = astronaut()[:400, 30:430]
    frames = []
    for t in range(count):
        share = t / count
        zoom = size / 400 * (1 + 0.1 * share)
        matrix = np.array([[zoom, 0, -12 * share], [0, zoom, 6 * np.sin(6 * share)]])
        frames.append(
            cv2.warpAffine(
                picture, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
            )
        )
    return frames


def voice(frames: int = FRAMES, rate: int = 16000) -> np.ndarray:
    n = frames * rate // 25
    return (
        0.2 * np.random.default_rng(0).standard_normal(n) * np.abs(np.sin(np.arange(n) * 20 / rate))
    ).astype(np.float32)


def turned(path, frames) -> None:
    """As a phone held upright writes it: pictures lie on their side, and the file says so."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = (
            frames[0].shape[0],
            frames[0].shape[1],
            "yuv420p",
        )
        stream.set_display_rotation(-90)
        sound = container.add_stream("aac", rate=16000, layout="mono")
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(np.rot90(picture)), format="rgb24"
            )
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        samples = av.AudioFrame.from_ndarray(voice()[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = 16000, 0, Fraction(1, 16000)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder of what people have: eight speakers, some of whose files are no use."""
    root = tmp_path_factory.mktemp("corpus")
    good = nodding(FRAMES)
    for name in ("anna", "bert", "cora", "dora", "bad"):
        (root / name).mkdir()
    write_video(root / "anna" / "plain.mp4", good, voice())
    write_video(root / "anna" / "sixty.mp4", nodding(36), voice(), fps=60)
    soundfile.write(root / "8k.wav", np.stack([voice(rate=8000)] * 2, 1), 8000)
    write_video(root / "bert" / "other.mp4", nodding(FRAMES, 322), root / "8k.wav")
    (root / "8k.wav").unlink()
    turned(root / "cora" / "phone.mp4", good)
    write_video(root / "dora" / "mute.mp4", good)
    soundfile.write(root / "dora" / "mute.wav", voice(), 16000)
    write_video(root / "bad" / "nosound.mp4", good)
    write_video(root / "bad" / "silent.mp4", good, np.zeros(FRAMES * 640, np.float32))
    write_video(root / "bad" / "noface.mp4", [np.full((128, 128, 3), 90, np.uint8)] * 12, voice())
    write_video(root / "bad" / "short.mp4", good[:3], voice())
    write_video(root / "bad" / "differs.mp4", good)
    soundfile.write(root / "bad" / "differs.wav", voice(90), 16000)
    twins = np.concatenate([good[0], good[0][:, ::-1]], 1)
    write_video(root / "bad" / "two.mp4", [twins] * 12, voice())
    data = (root / "anna" / "plain.mp4").read_bytes()
    (root / "bad" / "cut.mp4").write_bytes(data[: 2 * len(data) // 3])
    (root / "bad" / "text.mp4").write_text("no film at all\n" * 50)
    (root / "bad" / "zero.mp4").write_bytes(b"")
    soundfile.write(root / "bad" / "lonely.wav", voice(), 16000)
    return root


@pytest.fixture(scope="module")
def done(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "set"
    steps = []
    report = preprocess(
        open_source("folder", corpus), out, progress=lambda n, total: steps.append((n, total))
    )
    return report, out, steps


def test_every_clip_is_a_sample_or_a_reason(done):
    report, out, steps = done
    reasons = {failure.clip.split("/")[1]: failure.reason for failure in report.failures}
    assert reasons == {
        "nosound.mp4": "no_audio",
        "silent.mp4": "silent",
        "noface.mp4": "no_face",
        "short.mp4": "too_short",
        "differs.mp4": "sound_differs",
        "two.mp4": "several_faces",
        "cut.mp4": "truncated",
        "text.mp4": "unreadable",
        "zero.mp4": "empty",
        "lonely.wav": "no_video",
    }
    samples = list(iter_samples(out))
    assert {sample.meta.extra["path"] for sample in samples} >= {
        "anna/plain.mp4",
        "anna/sixty.mp4",
        "bert/other.mp4",
        "cora/phone.mp4",
        "dora/mute.mp4",
    }
    lines = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert sorted((line["clip"], line["reason"]) for line in lines) == sorted(
        (f.clip, f.reason) for f in report.failures
    )
    index = read_index(out)
    assert sum(index.failures.values()) == len(lines) and index.failures["no_video"] == 1
    assert steps == [(n, 14) for n in range(1, 15)]
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


def test_samples_fit_their_pictures(done):
    _, out, _ = done
    model = BuiltinFaceModel.load()
    for sample in iter_samples(out):
        if sample.meta.extra["path"].startswith("bad"):
            continue
        assert sample.meta.frames == FRAMES and len(sample.wave) == FRAMES * 640
        pictures = decode_mp4_bytes(sample.video)
        assert pictures.shape == (FRAMES, 256, 256, 3)
        # The whole head stands upright in the crop, and the model lies on the landmarks.
        eyes, chin = sample.landmarks[:, 33, 1], sample.landmarks[:, 152, 1]
        assert (-0.5 < eyes).all() and (eyes + 0.3 < chin).all() and (chin < 0.8).all()
        error = np.abs(
            model.project(sample.coefficients)[..., :2] - sample.landmarks[:, :468, :2]
        ).mean()
        assert error < 0.05
        np.testing.assert_allclose(sample.au, read_aus(sample.coefficients["exp"]), atol=1e-6)
        assert np.abs(sample.coefficients["tex"]).max() > 0
        skin = pictures[0][120:136, 96:160].mean((0, 1))
        assert skin[0] > skin[2] + 15
        assert sample.meta.origin_sha256 and sample.meta.tools["landmarks"] == "mediapipe"


def test_sound_and_picture_start_together(done):
    _, out, _ = done
    for sample in iter_samples(out, parts={"wave"}):
        if sample.meta.extra["path"] in ("anna/plain.mp4", "cora/phone.mp4", "dora/mute.mp4"):
            lags = np.correlate(sample.wave, voice(), "full")
            assert abs(int(lags.argmax()) - (len(voice()) - 1)) <= 80


def test_splits_hold_speakers_apart(done):
    _, out, _ = done
    index = read_index(out)
    assert {"train", "val"} <= set(index.splits)
    assert all(speaker["split"] != "several" for speaker in index.speakers.values())


def digest(out) -> list[tuple[str, str]]:
    return [(shard.name, shard.sha256) for shard in read_index(out).shards]


def test_an_interrupted_run_on_other_workers_gives_the_same_bytes(corpus, done, tmp_path):
    def stop(count, total):
        if count == 4:
            raise KeyboardInterrupt

    source = open_source("folder", corpus)
    with pytest.raises(KeyboardInterrupt):
        preprocess(source, tmp_path / "set", progress=stop)
    assert not (tmp_path / "set" / "index.json").exists()
    with pytest.raises(UserError, match=r"unfinished run.*"):
        preprocess(source, tmp_path / "set")
    steps = []
    preprocess(
        source, tmp_path / "set", workers=2, resume=True, progress=lambda n, total: steps.append(n)
    )
    assert steps == list(range(5, 15))
    assert digest(tmp_path / "set") == digest(done[1])
    assert (tmp_path / "set" / "failures.jsonl").read_bytes() == (
        done[1] / "failures.jsonl"
    ).read_bytes()
    again = preprocess(source, tmp_path / "set", resume=True)
    assert again.index.samples == done[0].index.samples and len(again.failures) == len(
        done[0].failures
    )


def test_what_cannot_work_is_refused(corpus, done, tmp_path):
    source = open_source("folder", corpus)
    with pytest.raises(UserError, match="finished shard set"):
        preprocess(source, done[1])
    with pytest.raises(UserError, match="--workers"):
        preprocess(source, tmp_path / "set", workers=0)
    for wrong in ({"size": 63}, {"split_by": "mood"}, {"samples_per_shard": 0}):
        with pytest.raises(UserError):
            Settings(**wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there are no videos"):
        preprocess(open_source("folder", tmp_path / "empty"), tmp_path / "set")
    (tmp_path / "empty" / "a.mp4").write_text("no film")
    with pytest.raises(UserError, match=r"unreadable 1; see .*failures\.jsonl"):
        preprocess(open_source("folder", tmp_path / "empty"), tmp_path / "set2")


def test_long_clips_are_cut_and_manifest_splits_hold(tmp_path):
    (tmp_path / "in").mkdir()
    frames = nodding(8, 128)
    for name, count in (("a", 260), ("b", 20)):
        write_video(
            tmp_path / "in" / f"{name}.mp4",
            (frames[t * 8 // count] for t in range(count)),
            voice(count),
        )
    rows = "path,speaker,emotion,intensity,split\na.mp4,anna,sad,2,test\nb.mp4,bert,,,train\n"
    (tmp_path / "in" / "manifest.csv").write_text(rows)
    preprocess(open_source("folder", tmp_path / "in"), tmp_path / "set", settings=Settings(size=64))
    samples = list(iter_samples(tmp_path / "set"))
    assert [
        (
            s.meta.speaker,
            s.meta.split,
            s.meta.emotion,
            s.meta.intensity,
            s.meta.frames,
            s.meta.extra["start"],
        )
        for s in samples
    ] == [
        ("bert", "train", None, None, 20, 0.0),
        ("anna", "test", "sad", 2, 130, 0.0),
        ("anna", "test", "sad", 2, 130, 5.2),
    ]
    assert np.corrcoef(np.concatenate([s.wave for s in samples[1:]]), voice(260))[0, 1] > 0.95


def test_short_gaps_are_bridged_and_long_ones_refused():
    there = [np.full((4, 3), float(t)) for t in range(20)]
    points, missing = fill_gaps([None, *there[1:8], None, None, *there[10:19], None])
    assert missing == 4
    np.testing.assert_allclose(points[:, 0, 0], [1, *range(1, 19), 18])
    for holes, reason in (
        (range(20), "no_face"),
        (range(3, 9), "face_lost"),
        (range(0, 20, 3), "face_lost"),
    ):
        with pytest.raises(ClipError) as caught:
            fill_gaps([None if t in holes else there[t] for t in range(20)])
        assert caught.value.reason == reason
