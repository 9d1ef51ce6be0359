"""Media as it comes: each kind of trouble is made here, has its reason or its right result, and costs nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from fractions import Fraction
from importlib.resources import files

import av
import cv2
import numpy as np
import pytest
import soundfile
from skimage.data import astronaut, rocket

from datamodules.preprocessing.extraction import Extractor
from datamodules.preprocessing.pipeline import Settings, preprocess
from datamodules.shards.reader import iter_samples
from datamodules.sources import Clip, open_source
from emo_lightning.face.landmarks import Face, open_landmarker, to_68
from emo_lightning.media.video_reader import decode_mp4_bytes
from emo_lightning.media.video_writer import write_video
from tests.emo_lightning.face.objects import coin, headlights, soft_disc

FRAMES = 30
SPEECH = files("emo_lightning") / "samples" / "speech.flac"
GREEN = (40, 120, 60)


def face(size: int = 192, t: float = 0.0, mirrored: bool = False) -> np.ndarray:
    """A face that sways."""
    picture = astronaut()[:400, 30:430]
    matrix = np.array([[size / 400, 0, 4 * np.sin(t / 5)], [0, size / 400, 3 * np.cos(t / 7) - 3]])
    out = cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return np.ascontiguousarray(out[:, ::-1]) if mirrored else out


def voice(frames: int = FRAMES, rate: int = 16000) -> np.ndarray:
    n = frames * rate // 25
    return (
        0.2 * np.random.default_rng(0).standard_normal(n) * np.abs(np.sin(np.arange(n) * 20 / rate))
    ).astype(np.float32)


def scattered(picture: np.ndarray) -> np.ndarray:
    """The same colours without a face."""
    tiles = (
        picture.reshape(picture.shape[0] // 8, 8, picture.shape[1] // 8, 8, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(-1, 8, 8, 3)
    )
    tiles = np.random.default_rng(0).permutation(tiles)
    rows = tiles.reshape(picture.shape[0] // 8, picture.shape[1] // 8, 8, 8, 3).transpose(
        0, 2, 1, 3, 4
    )
    return np.ascontiguousarray(rows.reshape(picture.shape))


@pytest.fixture(scope="module")
def extractor():
    return Extractor("test", size=128)


def run(extractor, path, **fields):
    result = extractor.extract(Clip(path.name, path, "anna", **fields))
    return result.samples, [(failure.reason, failure.detail) for failure in result.failures]


def muxed(
    path,
    pictures,
    times,
    wave,
    sound_start=0,
    rate=16000,
    layout="mono",
    base=Fraction(1, 1000),
    rotation=0,
) -> None:
    """Pictures at times of our choosing (in ``base``) and sound from a sample of our choosing on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = base
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=rate, layout=layout)
        for picture, at in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        samples = av.AudioFrame.from_ndarray(
            np.atleast_2d(wave).astype(np.float32), format="fltp", layout=layout
        )
        samples.sample_rate, samples.pts, samples.time_base = rate, sound_start, Fraction(1, rate)
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


def lag(wave: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which the first comes later."""
    return int(np.correlate(wave, reference, "full").argmax()) - (len(reference) - 1)


def way(sample) -> np.ndarray:
    """Where the nose is in the original's pixels, frame by frame."""
    cx, cy, half = sample.meta.extra["box"]
    return sample.landmarks[:, 1, :2] * half + (cx, cy)


def moving(milliseconds: float) -> np.ndarray:
    """A face that is somewhere else at every moment: down on a straight line, to the side on a wave."""
    picture = astronaut()[:400, 30:430]
    seconds = milliseconds / 1000
    matrix = np.array([[0.48, 0, 14 * np.sin(6 * seconds)], [0, 0.48, 20 * seconds - 8]])
    return cv2.warpAffine(
        picture, matrix, (192, 192), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )


@pytest.fixture(scope="module")
def steady(extractor, tmp_path_factory):
    """The moving face at 25 frames a second, to hold all other clocks against."""
    path = tmp_path_factory.mktemp("steady") / "a.mp4"
    muxed(path, [moving(40 * t) for t in range(FRAMES)], [40 * t for t in range(FRAMES)], voice())
    (sample,), failures = run(extractor, path)
    assert (
        failures == [] and sample.meta.frames == FRAMES and np.ptp(way(sample), axis=0).min() > 15
    )
    return sample


def test_a_variable_frame_rate_keeps_its_time(extractor, steady, tmp_path):
    steps = np.cumsum([0, *([10, 60, 20] * 13), 10])
    muxed(tmp_path / "a.mp4", [moving(t) for t in steps], steps.tolist(), voice())
    (sample,), failures = run(extractor, tmp_path / "a.mp4")
    frames = min(sample.meta.frames, FRAMES)
    assert failures == [] and abs(sample.meta.frames - FRAMES) <= 1
    apart = np.abs(way(sample)[:frames] - way(steady)[:frames])
    # A picture is shown until the next one comes, here for 60 ms at most: 1.2 pixels down, 5 to the side.
    assert apart[:, 1].max() < 2 and apart[:, 0].max() < 6 and abs(lag(sample.wave, voice())) < 100


def test_sixty_frames_a_second_become_twenty_five_of_the_same_moments(extractor, steady, tmp_path):
    count = 72
    muxed(
        tmp_path / "a.mp4",
        [moving(1000 * n / 60) for n in range(count)],
        list(range(count)),
        voice(),
        base=Fraction(1, 60),
    )
    (sample,), failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and sample.meta.frames == FRAMES and sample.meta.fps == 25
    # The time of a picture at 60 a second is 17 ms: 0.3 pixels down, 1.4 to the side.
    assert np.abs(way(sample) - way(steady)).max() < 2 and abs(lag(sample.wave, voice())) < 100


def test_a_phone_s_film_on_its_side_stands_upright(extractor, steady, tmp_path):
    pictures = [np.ascontiguousarray(np.rot90(moving(40 * t))) for t in range(FRAMES)]
    muxed(tmp_path / "a.mp4", pictures, [40 * t for t in range(FRAMES)], voice(), rotation=-90)
    (sample,), failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and sample.meta.frames == FRAMES
    assert np.abs(way(sample) - way(steady)).max() < 1.5 and abs(lag(sample.wave, voice())) < 100
    assert (sample.landmarks[:, 10, 1] < sample.landmarks[:, 152, 1] - 0.5).all()


def test_pictures_that_start_late_begin_with_their_own_sound(extractor, steady, tmp_path):
    muxed(
        tmp_path / "a.mp4",
        [moving(40 * t) for t in range(FRAMES)],
        [400 + 40 * t for t in range(FRAMES)],
        voice(FRAMES + 10),
    )
    (sample,), failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and sample.meta.frames == FRAMES
    assert np.abs(way(sample) - way(steady)).max() < 1.5
    assert abs(lag(sample.wave, voice(FRAMES + 10)[6400:])) < 100


def test_surround_sound_is_mixed_to_one_channel(extractor, tmp_path):
    centre = voice(rate=48000)
    channels = np.zeros((6, len(centre)), np.float32)
    channels[2] = centre
    muxed(
        tmp_path / "a.mp4",
        [face(t=t) for t in range(FRAMES)],
        [40 * t for t in range(FRAMES)],
        channels,
        0,
        48000,
        "5.1",
    )
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and np.abs(samples[0].wave).max() > 0.05 and samples[0].wave.ndim == 1


def test_sound_that_starts_late_stays_late(extractor, tmp_path):
    muxed(
        tmp_path / "a.mp4",
        [face(t=t) for t in range(FRAMES)],
        [40 * t for t in range(FRAMES)],
        voice(20),
        sound_start=6400,
    )
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and samples[0].meta.frames == FRAMES
    assert np.abs(samples[0].wave[:5000]).max() < 0.01
    assert abs(lag(samples[0].wave, voice(20)) - 6400) < 100
    assert samples[0].meta.extra["quality"]["speech"][0][0] == pytest.approx(0.4, abs=0.09)


def test_four_thousand_pixels_are_no_burden(extractor, tmp_path):
    big = [
        cv2.copyMakeBorder(
            cv2.resize(face(216, t), (2160, 2160)), 0, 0, 840, 840, cv2.BORDER_REPLICATE
        )
        for t in range(12)
    ]
    muxed(tmp_path / "a.mp4", big, [40 * t for t in range(12)], voice(12))
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and decode_mp4_bytes(samples[0].video).shape == (12, 128, 128, 3)


def test_no_face_at_first_loses_only_that(extractor, tmp_path):
    empty = np.full((192, 192, 3), GREEN, np.uint8)
    frames = [empty] * 25 + [face(t=t) for t in range(30)]
    write_video(tmp_path / "a.mp4", frames, voice(55))
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert (
        len(samples) == 1
        and 29 <= samples[0].meta.frames <= 30
        and 1.0 <= samples[0].meta.extra["start"] <= 1.04
    )
    assert [reason for reason, _ in failures] <= ["no_face"] and failures
    assert (
        abs(lag(samples[0].wave, voice(55)[round(samples[0].meta.extra["start"] * 16000) :])) < 100
    )


def test_a_face_that_goes_and_comes_back_gives_two_samples(extractor, tmp_path):
    frames = (
        [face(t=t) for t in range(20)] + [scattered(face())] * 12 + [face(t=t) for t in range(20)]
    )
    write_video(tmp_path / "a.mp4", frames, voice(52))
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert [sample.meta.frames for sample in samples] == [20, 20] and [
        s.meta.extra["start"] for s in samples
    ] == [0.0, 1.28]
    assert failures == [("face_lost", "no face in 12 of 52 frames; the others were kept")]


def test_two_faces_of_one_size_are_reported_and_a_small_one_is_not(extractor, tmp_path):
    twins = [np.concatenate([face(t=t), face(t=t, mirrored=True)], 1) for t in range(15)]
    write_video(tmp_path / "twins.mp4", twins, voice(15))
    assert run(extractor, tmp_path / "twins.mp4")[1][0][0] == "several_faces"
    small = [
        np.concatenate([face(192, t), np.pad(face(96, t), ((96, 0), (0, 0), (0, 0)))], 1)
        for t in range(15)
    ]
    write_video(tmp_path / "small.mp4", small, voice(15))
    samples, failures = run(extractor, tmp_path / "small.mp4")
    assert failures == [] and samples[0].meta.extra["box"][0] < 150


def test_a_larger_face_that_joins_later_does_not_take_over(extractor, tmp_path):
    room = scattered(face(192))
    alone = [
        np.concatenate([np.pad(face(128, t), ((64, 0), (0, 0), (0, 0))), room], 1)
        for t in range(15)
    ]
    joined = [
        np.concatenate([frame[:, :128], face(192, t, mirrored=True)], 1)
        for t, frame in enumerate(alone)
    ]
    write_video(tmp_path / "a.mp4", alone + joined, voice(30))
    samples, _ = run(extractor, tmp_path / "a.mp4")
    assert [sample.meta.frames for sample in samples] == [30] and samples[0].meta.extra["box"][
        0
    ] < 128


def test_a_cut_ends_a_sample(extractor, tmp_path):
    other = [
        cv2.resize(np.ascontiguousarray(255 - face(t=t)[:, :, ::-1] // 2), (192, 192))
        for t in range(20)
    ]
    write_video(tmp_path / "people.mp4", [face(t=t) for t in range(20)] + other, voice(40))
    samples, _ = run(extractor, tmp_path / "people.mp4")
    assert samples[0].meta.frames == 20
    scene = cv2.resize(rocket()[:, 100:500], (192, 192))
    write_video(
        tmp_path / "scene.mp4",
        [face(t=t) for t in range(20)] + [scene] * 20 + [face(t=t) for t in range(20)],
        voice(60),
    )
    samples, failures = run(extractor, tmp_path / "scene.mp4")
    assert [sample.meta.frames for sample in samples] == [20, 20] and [
        reason for reason, _ in failures
    ] == ["no_face"]
    assert samples[1].meta.extra["start"] == 1.6


def test_frames_that_the_decoder_could_not_restore_are_left_out(extractor, tmp_path):
    grey = np.full((192, 192, 3), 130, np.uint8)
    write_video(tmp_path / "a.mp4", [grey] * 8 + [face(t=t) for t in range(30)], voice(38))
    samples, failures = run(extractor, tmp_path / "a.mp4")
    assert [sample.meta.frames for sample in samples] == [30] and [
        reason for reason, _ in failures
    ] == ["damaged"]


class Sparse:
    """The built-in back-end reduced to the 68 points that other back-ends have."""

    name = "sparse"

    def __init__(self) -> None:
        self._dense = open_landmarker()

    def detect(self, image: np.ndarray) -> list[Face]:
        faces = self._dense.detect(image)
        return [
            Face(to_68(face.points) * np.array([1, 1, 0], np.float32), None, face.box)
            for face in faces
        ]

    def close(self) -> None:
        self._dense.close()


def test_a_back_end_of_68_points_gives_all_that_the_other_gives(extractor, tmp_path):
    write_video(tmp_path / "a.mp4", [face(256, t) for t in range(20)], voice(20))
    sparse = Extractor("test", size=128)
    sparse.landmarker = Sparse()
    (few,), failures = run(sparse, tmp_path / "a.mp4")
    (many,), _ = run(extractor, tmp_path / "a.mp4")
    assert failures == [] and few.landmarks.shape == (20, 68, 3) and few.blendshapes is None
    assert (
        many.blendshapes.shape == (20, 52)
        and 0 <= many.blendshapes.min()
        and many.blendshapes.max() <= 1
    )
    assert np.abs(few.coefficients["tex"] - many.coefficients["tex"]).mean() < 0.05
    assert np.abs(few.coefficients["angle"] - many.coefficients["angle"]).mean() < 0.15


def test_flags_tell_bad_pictures_and_sound(extractor, tmp_path):
    # Sharpened, for the picture is near the limit of blur as it is.
    good = [
        cv2.addWeighted(f, 1.8, cv2.GaussianBlur(f, (0, 0), 1.5), -0.8, 0)
        for f in (face(320, t) for t in range(60))
    ]
    blurred = [cv2.GaussianBlur(frame, (0, 0), 3) for frame in good]
    hand = []
    for t, frame in enumerate(good):
        frame = frame.copy()
        if 20 <= t < 40:
            frame[90:140, 150:185] = (70, 50, 150)
        hand.append(frame)
    said, _ = soundfile.read(str(SPEECH), frames=60 * 640, dtype="float32")
    loud = np.clip(said / np.abs(said).max() * 5, -1, 1)
    cases = {"good": (good, voice(60)), "blur": (blurred, voice(60)), "occlusion": (hand, voice(60)),
             "quiet": (good, voice(60) * 0.01), "clipped": (good, loud), "said": (good, said)}  # fmt: skip
    for name, (frames, wave) in cases.items():
        write_video(tmp_path / f"{name}.mp4", frames, wave)
        samples, failures = run(extractor, tmp_path / f"{name}.mp4")
        assert failures == [] and set(samples[0].meta.extra["flags"]) - {"sync"} == (
            {name} - {"good", "said"}
        ), samples[0].meta.extra


def test_rows_that_repeat_downwards_are_told(extractor, tmp_path):
    """What a decoder makes of a picture whose rest it lost."""
    frames = [
        np.concatenate([frame[:105], np.repeat(frame[105:106], 215, 0)])
        for frame in (face(320, t) for t in range(20))
    ]
    write_video(tmp_path / "a.mp4", frames, voice(20))
    samples, _ = run(extractor, tmp_path / "a.mp4")
    assert (
        "smeared" in samples[0].meta.extra["flags"]
        and samples[0].meta.extra["quality"]["evenness"] < 0.4
    )


def test_a_slow_clip_ends_in_time_and_others_go_on(tmp_path):
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", [face(t=t) for t in range(FRAMES)], voice())
    result = Extractor("test", clip_seconds=0.0).extract(
        Clip("a.mp4", tmp_path / "in" / "a.mp4", "anna")
    )
    assert [failure.reason for failure in result.failures] == ["timeout"] and not result.samples


def test_a_process_that_extracts_can_train_afterwards(tmp_path):
    """Signal handlers that are put back as Python knows them must not let the landmark library's timers end the process."""
    write_video(tmp_path / "a.mp4", [face(96, t) for t in range(12)], voice(12))
    code = f"""
import signal
from pathlib import Path
from datamodules.preprocessing.extraction import Extractor
from datamodules.sources import Clip
extractor, clip = Extractor("test", size=64), Clip("a.mp4", Path({str(tmp_path / "a.mp4")!r}), "anna")
for _ in range(6):
    assert len(extractor.extract(clip).samples) == 1
    handlers = {{s: signal.getsignal(s) for s in signal.valid_signals() - {{signal.SIGKILL, signal.SIGSTOP}}}}
    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_clips_in_archives_give_what_loose_ones_give(tmp_path):
    loose, packed = tmp_path / "loose", tmp_path / "packed"
    names = [f"M003/video/front/angry/level_1/{n:03d}.mp4" for n in (1, 2)]
    for n, name in enumerate(names):
        (loose / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(loose / name, [face(96, t + 9 * n) for t in range(12)], voice(12))
    (packed / "M003").mkdir(parents=True)
    with tarfile.open(packed / "M003" / "video.tar", "w") as tar:
        for name in names:
            tar.add(loose / name, name.removeprefix("M003/"))
        tar.add(__file__, "video/front/angry/level_1/003.mp4")
    before = {path: path.read_bytes() for path in packed.rglob("*") if path.is_file()}
    sets = []
    for root in (loose, packed):
        report = preprocess(
            open_source("mead", root), tmp_path / f"{root.name}-set", settings=Settings(size=64)
        )
        sets.append([(shard.name, shard.sha256) for shard in report.index.shards])
    assert sets[0] == sets[1] and [failure.reason for failure in report.failures] == ["unreadable"]
    assert {path: path.read_bytes() for path in packed.rglob("*") if path.is_file()} == before


def test_recordings_alone_become_audio_samples(tmp_path):
    root = tmp_path / "in"
    for actor, frames in ((1, 50), (2, 300), (3, 4)):
        folder = root / f"Actor_{actor:02d}"
        folder.mkdir(parents=True)
        soundfile.write(folder / f"03-01-06-02-01-01-{actor:02d}.wav", voice(frames, 48000), 48000)
    (root / "Actor_01" / "03-01-05-01-01-01-01.wav").write_bytes(b"")
    report = preprocess(open_source("ravdess", root), tmp_path / "set")
    assert {failure.reason for failure in report.failures} == {"empty", "too_short"}
    assert {shard.set for shard in report.index.shards} == {"audio"}
    samples = list(iter_samples(tmp_path / "set", parts={"wave"}))
    assert sorted((s.meta.speaker, s.meta.frames) for s in samples) == [
        ("Actor_01", 50),
        ("Actor_02", 150),
        ("Actor_02", 150),
    ]
    assert all(
        s.meta.emotion == "fear" and s.meta.intensity == 3 and s.meta.extra["quality"]["speech"]
        for s in samples
    )
    assert list(iter_samples(tmp_path / "set")) == []
    assert json.loads((tmp_path / "set" / "index.json").read_text())["emotions"] == {
        "fear": {"unknown": 3}
    }


def test_spans_cut_long_videos(extractor, tmp_path):
    frames = [face(t=t) for t in range(60)]
    write_video(tmp_path / "a.mp4", frames, voice(60))
    samples, failures = run(
        extractor, tmp_path / "a.mp4", span=(0.8, 2.0), words=((0.0, 0.4, "one"), (0.4, 1.0, "two"))
    )
    assert failures == [] and samples[0].meta.frames == 30
    assert abs(lag(samples[0].wave, voice(60)[12800 : 12800 + 19200])) < 100
    assert samples[0].meta.extra["words"] == [[0.0, 0.4, "one"], [0.4, 1.0, "two"]]
    assert run(extractor, tmp_path / "a.mp4", span=(9.0, 12.0))[1][0][0] == "span_outside"


def test_clips_of_objects_have_no_face(extractor, tmp_path):
    """A disc, a coin and a headlight, which the landmark network takes for faces."""
    rng = np.random.default_rng(0)
    for number, picture in enumerate((soft_disc(), coin(), headlights())):
        frames = [np.roll(picture, t, axis=1) for t in range(12)]
        frames = [np.clip(f + rng.normal(0, 2, f.shape), 0, 255).astype(np.uint8) for f in frames]
        write_video(tmp_path / f"{number}.mp4", frames, voice(12))
        samples, failures = run(extractor, tmp_path / f"{number}.mp4")
        assert samples == [] and [reason for reason, _ in failures] == ["no_face"]


@pytest.mark.parametrize(("turns", "degrees"), [(1, 90), (2, 180), (3, 270)])
def test_clips_that_lie_on_their_side_are_stored_upright(extractor, tmp_path, turns, degrees):
    upright = [face(t=t) for t in range(12)]
    write_video(tmp_path / "a.mp4", upright, voice(12))
    turned = [np.ascontiguousarray(np.rot90(frame, turns)) for frame in upright]
    write_video(tmp_path / "b.mp4", turned, voice(12))
    ((a,), _), ((b,), failures) = (run(extractor, tmp_path / name) for name in ("a.mp4", "b.mp4"))
    assert failures == [] and b.meta.extra["turned"] == degrees and "turned" not in a.meta.extra
    assert b.meta.extra["picture"] == a.meta.extra["picture"]
    assert np.abs(a.landmarks - b.landmarks)[..., :2].mean() < 0.02


def test_videos_of_few_frames_a_second_are_flagged(extractor, tmp_path):
    for name, fps in (("slow.mp4", 2), ("fine.mp4", 15)):
        write_video(tmp_path / name, [face(t=t) for t in range(fps)], voice(25), fps=fps)
        ((sample,), failures) = run(extractor, tmp_path / name)
        assert failures == [] and ("low_frame_rate" in sample.meta.extra["flags"]) == (fps == 2)
