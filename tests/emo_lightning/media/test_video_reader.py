"""Frames at 25 a second from any video; files that appear whole, in sync, to the frame, or not at all."""

from __future__ import annotations

import resource
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from skimage.data import astronaut

from emo_lightning.core.errors import UserError
from emo_lightning.media.audio_reader import load_audio
from emo_lightning.media.video_reader import decode_mp4_bytes, iter_frames, probe
from emo_lightning.media.video_writer import VideoFormat, VideoWriter, encode_mp4_bytes, write_video

PICTURE = astronaut()[:256, 96:352]


def grey(level: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def record(path, times, levels, size=(64, 64), rotation=0, codec="libx264", base=1000) -> None:
    """A video whose picture k, a plain grey, is shown from ``times[k]`` seconds on."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=base)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, base)
        if rotation:
            stream.set_display_rotation(rotation)
        for time, level in zip(times, levels, strict=True):
            picture = level if isinstance(level, np.ndarray) else grey(level, size)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time * base), Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def levels_of(path) -> np.ndarray:
    return np.array([frame.mean() for frame in iter_frames(path)])


@pytest.mark.parametrize(
    ("fps", "count", "expected"),
    [(25, 30, 30), (30, 30, 25), (60, 60, 25), (24, 48, 50), (12.5, 10, 20)],
)
def test_any_rate_becomes_25_by_time(tmp_path, fps, count, expected):
    times = np.arange(count) / fps
    record(tmp_path / "a.mp4", times, (40 + 3 * np.arange(count)).tolist(), base=600)
    seen = (levels_of(tmp_path / "a.mp4") - 40) / 3
    assert len(seen) == expected
    shown = times[np.clip(np.rint(seen).astype(int), 0, count - 1)]
    assert np.abs(shown - np.arange(expected) / 25).max() <= max(0.5 / fps, 0.5 / 25) + 0.004


def test_variable_rate_holds_a_picture_until_the_next_is_due(tmp_path):
    record(tmp_path / "a.mkv", [0.0, 0.04, 1.0, 1.04, 1.08], [50, 100, 150, 200, 250])
    seen = levels_of(tmp_path / "a.mkv")
    assert (
        abs(seen[0] - 50) < 4
        and abs(seen[24] - 100) < 4
        and abs(seen[25] - 150) < 4
        and abs(seen[27] - 250) < 4
    )


def test_a_phone_s_rotation_is_undone(tmp_path):
    picture = np.zeros((48, 96, 3), np.uint8)
    picture[:, :48, 0] = 255
    record(tmp_path / "turned.mp4", [0, 0.04], [picture, picture], (96, 48), rotation=-90)
    info = probe(tmp_path / "turned.mp4")
    frame = next(iter_frames(tmp_path / "turned.mp4"))
    assert (info.width, info.height) == (48, 96) and frame.shape == (96, 48, 3)
    # A quarter clockwise takes the left half to the top.
    assert frame[8:40, :, 0].mean() > 200 and frame[56:88, :, 0].mean() < 60


def test_odd_sizes_and_late_starts(tmp_path):
    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 61, 43, "bgr0"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(grey(100, (61, 43)), format="rgb24").reformat(
                format="bgr0"
            )
            frame.pts, frame.time_base = number + 50, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = probe(tmp_path / "odd.mkv")
    assert (info.width, info.height, info.start) == (61, 43, 2.0)
    frames = list(iter_frames(tmp_path / "odd.mkv"))
    assert len(frames) == 5 and frames[0].shape == (43, 61, 3) and abs(frames[0].mean() - 100) < 2


def test_what_is_no_video_is_refused_in_words(tmp_path):
    soundfile.write(tmp_path / "sound.wav", np.ones(16000) * 0.1, 16000)
    (tmp_path / "text.mp4").write_text("This is a letter, not a film.\n" * 100)
    (tmp_path / "zero.mp4").write_bytes(b"")
    write_video(tmp_path / "whole.mp4", [PICTURE] * 30)
    (tmp_path / "half.mp4").write_bytes((tmp_path / "whole.mp4").read_bytes()[:300])
    cases = {
        "sound.wav": "has no picture",
        "text.mp4": "cannot be decoded",
        "zero.mp4": "is empty",
        "none.mp4": "does not exist",
    }
    for name, problem in {**cases, "half.mp4": "has no picture|decoded"}.items():
        for read in (probe, lambda path: list(iter_frames(path))):
            with pytest.raises(UserError, match=problem):
                read(tmp_path / name)


def test_a_video_that_breaks_off_says_so_after_what_it_has(tmp_path):
    frames = [np.roll(PICTURE, 3 * i, 1) for i in range(50)]
    write_video(tmp_path / "whole.mp4", frames)
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: 3 * len(data) // 4])
    seen = []
    with pytest.raises(UserError, match=r"breaks off after .* of 2\.00 s") as caught:
        seen.extend(iter_frames(tmp_path / "cut.mp4"))
    assert caught.value.reason == "truncated" and 5 < len(seen) < 45


def test_sound_is_in_time_and_the_length_exact_to_a_frame(tmp_path):
    rng = np.random.default_rng(0)
    wave = (0.2 * rng.standard_normal(16000 * 3) * np.exp(-(np.arange(48000) % 8000) / 900)).astype(
        np.float32
    )
    for frames, sound in ((75, wave), (60, wave), (90, iter(np.split(wave, 10)))):
        write_video(tmp_path / "a.mp4", (np.roll(PICTURE, i, 1) for i in range(frames)), None)
        with VideoWriter(tmp_path / "a.mp4", (256, 256), audio=sound) as writer:
            for i in range(frames):
                writer.write(np.roll(PICTURE, i, 1))
        with av.open(str(tmp_path / "a.mp4")) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (
                video.frames == frames
                and video.codec_context.name == "h264"
                and audio.codec_context.name == "aac"
            )
            assert float(video.duration * video.time_base) == pytest.approx(frames / 25, abs=1e-6)
            assert float(audio.duration * audio.time_base) == pytest.approx(frames / 25, abs=1e-3)
            assert (video.codec_context.pix_fmt, video.codec_context.colorspace) == ("yuv420p", 1)
        back = load_audio(tmp_path / "a.mp4")
        assert len(back) == frames * 640
        n = min(len(back), len(wave))
        lags = np.fft.irfft(np.fft.rfft(back[:n], 2 * n) * np.conj(np.fft.rfft(wave[:n], 2 * n)))
        lag = int(lags.argmax())
        assert min(lag, 2 * n - lag) < 0.005 * 16000
    assert (tmp_path / "a.mp4").read_bytes().index(b"moov") < (
        tmp_path / "a.mp4"
    ).read_bytes().index(b"mdat")


def test_a_recording_file_becomes_the_sound(tmp_path):
    tone = 0.3 * np.sin(2 * np.pi * 300 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "t.wav", np.stack([tone, tone], 1), 44100)
    assert write_video(tmp_path / "a.mp4", [PICTURE] * 25, tmp_path / "t.wav") == 25
    back = load_audio(tmp_path / "a.mp4")
    expected = 0.3 * np.sin(2 * np.pi * 300 * np.arange(16000) / 16000)
    assert np.abs(back - expected)[800:-800].max() < 0.02


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_half_written_is_left_behind(tmp_path, error):
    def frames():
        yield from [PICTURE] * 5
        raise error

    with pytest.raises(error):
        write_video(tmp_path / "a.mp4", frames(), np.zeros(16000, np.float32))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.mp4").write_bytes(b"older")
    with pytest.raises(error):
        write_video(tmp_path / "a.mp4", frames())
    assert (tmp_path / "a.mp4").read_bytes() == b"older" and len(list(tmp_path.iterdir())) == 1


def test_places_that_cannot_be_written_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        VideoWriter(tmp_path / "no" / "a.mp4", (64, 64))
    with pytest.raises(UserError, match="is a folder"):
        VideoWriter(tmp_path, (64, 64))
    with pytest.raises(UserError, match="even"):
        VideoWriter(tmp_path / "a.mp4", (63, 64))
    assert list(tmp_path.iterdir()) == []


def test_colours_survive(tmp_path):
    write_video(tmp_path / "a.mp4", [PICTURE] * 5, crf=10)
    back = np.stack(list(iter_frames(tmp_path / "a.mp4"))).astype(float)
    assert np.abs((back - PICTURE).mean((0, 1, 2))).max() < 0.5
    assert 10 * np.log10(255**2 / ((back - PICTURE) ** 2).mean()) > 38


def test_long_videos_take_no_more_memory(tmp_path):
    frame = np.zeros((64, 64, 3), np.uint8)

    fast = VideoFormat(options={"preset": "ultrafast"})

    def grown(count: int) -> float:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        sound = (np.zeros(640, np.float32) for _ in range(count))
        with VideoWriter(tmp_path / "a.mp4", (64, 64), audio=sound, container=fast) as writer:
            for _ in range(count):
                writer.write(frame)
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024

    grown(250)
    assert grown(7500) < 12


def test_shard_video_is_near_lossless_same_bytes_and_any_frame_alone():
    frames = np.stack([np.roll(PICTURE, 2 * i, 1) for i in range(33)])
    data = encode_mp4_bytes(frames)
    assert data == encode_mp4_bytes(frames)
    whole = decode_mp4_bytes(data)
    assert whole.shape == frames.shape
    assert 10 * np.log10(255**2 / ((whole.astype(float) - frames) ** 2).mean()) > 38
    for wanted in ([0], [32, 0, 17], [9, 10, 11], [5, 5]):
        np.testing.assert_array_equal(decode_mp4_bytes(data, wanted), whole[wanted])
    for broken, wanted in (
        (b"", None),
        (b"x" * 999, [0]),
        (data[:400], [0]),
        (data, [33]),
        (data, [-1]),
    ):
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode_mp4_bytes(broken, wanted)


def test_the_same_frames_and_sound_give_the_same_file(tmp_path):
    frames = [np.roll(PICTURE, 2 * t, 1) for t in range(40)]
    for frame in frames[10:25]:
        frame[90:140, 60:110] = (70, 50, 150)
    sound = 0.1 * np.random.default_rng(0).standard_normal(40 * 640).astype(np.float32)
    files = set()
    for _ in range(8):
        write_video(tmp_path / "a.mp4", frames, sound)
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


TO_BT2020 = np.array([[0.627, 0.329, 0.043], [0.069, 0.92, 0.011], [0.016, 0.088, 0.896]])


def hlg(linear: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100: diffuse white at 75 % of the signal."""
    scene = 0.265 * linear
    with np.errstate(invalid="ignore"):
        upper = 0.17883277 * np.log(12 * scene - 0.28466892) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)


def pq(linear: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: diffuse white at 203 cd/m2."""
    y = (203 * linear / 10_000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


@pytest.mark.parametrize(("transfer", "encode"), [(18, hlg), (16, pq)], ids=["hlg", "pq"])
def test_hdr_is_tone_mapped_to_sdr(tmp_path, transfer, encode):
    """A picture graded as HLG or PQ in BT.2020 comes back nearly as it was."""
    linear = np.clip((PICTURE / 255.0) ** 2.2 @ TO_BT2020.T, 0, 1)
    graded = np.rint(encode(linear) * 65535).astype(np.uint16)
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *PICTURE.shape[1::-1], "gbrp16le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        container.mux(stream.encode(av.VideoFrame.from_ndarray(graded, format="rgb48le")))
        container.mux(stream.encode(None))
    (frame,) = iter_frames(tmp_path / "a.mkv")
    change = np.abs(frame.astype(float) - PICTURE).mean()
    untreated = np.abs(graded / 257.0 - PICTURE).mean()
    assert change < 16 and change < 0.6 * untreated, (change, untreated)
