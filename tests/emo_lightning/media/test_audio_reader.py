"""Any recording becomes the same 16 kHz sound; a stream's spectrogram is that of the whole file."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition

from emo_lightning.core.constants import SAMPLE_RATE
from emo_lightning.core.errors import UserError
from emo_lightning.media.audio_reader import inspect_audio, iter_audio, load_audio
from emo_lightning.media.spectrogram import MelStream, log_mel


@pytest.fixture
def voice():
    """Two seconds of noise that swells every quarter second, below 3 kHz, so that any codec keeps its timing."""
    rng = np.random.default_rng(0)
    noise = np.convolve(rng.standard_normal(2 * SAMPLE_RATE + 64), np.hanning(9) / 4.5, "same")[
        : 2 * SAMPLE_RATE
    ]
    swell = np.exp(-(np.arange(2 * SAMPLE_RATE) % 4000) / 700)
    return (0.2 * noise * swell).astype(np.float32)


def resample(wave: np.ndarray, rate: int) -> np.ndarray:
    """By Fourier, exact for what both rates can hold."""
    count = len(wave) * rate // SAMPLE_RATE
    spectrum = np.fft.rfft(wave)
    out = np.zeros(count // 2 + 1, complex)
    keep = min(len(out), len(spectrum))
    out[:keep] = spectrum[:keep]
    return (np.fft.irfft(out, count) * count / len(wave)).astype(np.float32)


def encode(path, wave: np.ndarray, codec: str, rate: int, layout: str = "mono") -> None:
    """Write through an encoder of its own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = 1 if layout == "mono" else 2
        planes = np.repeat(resample(wave, rate)[None], channels, 0)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            stream.format, layout, rate, stream.codec_context.frame_size or None
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))


def lag_ms(a: np.ndarray, b: np.ndarray) -> float:
    """By how much b comes after a."""
    n = len(a) + len(b)
    correlation = np.fft.irfft(np.fft.rfft(b, n) * np.conj(np.fft.rfft(a, n)), n)
    at = int(correlation.argmax())
    return (at if at < n // 2 else at - n) / SAMPLE_RATE * 1000


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8000, 2, "PCM_16"),
        ("b.wav", 48000, 1, "PCM_24"),
        ("c.flac", 44100, 2, "PCM_16"),
        ("d.wav", 16000, 1, "FLOAT"),
        ("d.ogg", 32000, 1, "VORBIS"),
        ("e.wav", 22050, 6, "PCM_16"),
    ],
)
def test_wave_files_of_any_rate_width_and_channels(tmp_path, voice, name, rate, channels, subtype):
    data = np.repeat(resample(voice, rate)[:, None], channels, 1)
    soundfile.write(tmp_path / name, data, rate, subtype)
    wave = load_audio(tmp_path / name)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert abs(len(wave) - len(voice)) <= 1
    assert abs(lag_ms(voice, wave)) < 0.5
    gain = float(voice[: len(wave)] @ wave[: len(voice)]) / float(voice @ voice)
    assert 0.9 < gain < 1.05


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.m4a", "aac"), ("a.ogg", "libopus"), ("a.webm", "libopus")],
)
def test_coded_files_are_in_time(tmp_path, voice, name, codec):
    encode(tmp_path / name, voice, codec, 48000, "stereo")
    wave = load_audio(tmp_path / name)
    assert abs(lag_ms(voice, wave)) < 5
    assert abs(len(wave) - len(voice)) < 0.06 * SAMPLE_RATE


def test_loud_stereo_stays_within_full_scale(tmp_path):
    tone = 0.99 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    soundfile.write(tmp_path / "loud.wav", np.stack([tone, tone], 1), 16000)
    wave = load_audio(tmp_path / "loud.wav")
    assert 0.97 < np.abs(wave).max() <= 1.0
    np.testing.assert_allclose(wave, tone, atol=2e-4)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"Not sound at all, just a text of some length. " * 50, "cannot be decoded"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.wav\n#EXT-X-ENDLIST\n",
            "cannot be decoded",
        ),
    ],
)
def test_what_is_no_recording_is_refused_in_words(tmp_path, content, problem):
    path = tmp_path / "voice.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        load_audio(path)
    assert caught.value.argument == "--audio" and "\n" not in str(caught.value)


def test_too_short_and_silent_are_refused(tmp_path):
    soundfile.write(tmp_path / "short.wav", np.full(1600, 0.5), SAMPLE_RATE)
    with pytest.raises(UserError, match=r"0\.10 s long.*at least 0\.2 s"):
        load_audio(tmp_path / "short.wav")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), SAMPLE_RATE)
    with pytest.raises(UserError, match=r"no sound at all|nothing can be decoded"):
        load_audio(tmp_path / "none.wav")
    for level in (0.0, 2e-4):
        soundfile.write(tmp_path / "still.wav", np.full(SAMPLE_RATE, level), SAMPLE_RATE, "FLOAT")
        for read in (load_audio, inspect_audio):
            with pytest.raises(UserError, match="is silent"):
                read(tmp_path / "still.wav")
    soundfile.write(tmp_path / "quiet.wav", np.full(SAMPLE_RATE, 1e-3), SAMPLE_RATE, "FLOAT")
    assert inspect_audio(tmp_path / "quiet.wav").samples == SAMPLE_RATE


def test_a_cut_off_file_gives_what_is_there(tmp_path, voice):
    soundfile.write(tmp_path / "a.flac", voice, SAMPLE_RATE)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    wave = load_audio(tmp_path / "a.flac")
    assert 0.3 * len(voice) < len(wave) < 0.7 * len(voice)


def test_blocks_join_to_the_whole_and_a_start_shifts_it(tmp_path, voice):
    soundfile.write(tmp_path / "a.wav", resample(voice, 44100), 44100)
    whole = load_audio(tmp_path / "a.wav")
    blocks = list(iter_audio(tmp_path / "a.wav", 1000))
    assert {len(block) for block in blocks[:-1]} == {1000}
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    early = np.concatenate(list(iter_audio(tmp_path / "a.wav", start=-0.25)))
    np.testing.assert_array_equal(early[:4000], 0)
    np.testing.assert_array_equal(early[4000:], whole)
    np.testing.assert_array_equal(
        np.concatenate(list(iter_audio(tmp_path / "a.wav", start=0.5))), whole[8000:]
    )


def test_long_recordings_take_no_more_memory(tmp_path):
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", SAMPLE_RATE, 1) as file:
        for _ in range(120):
            file.write(0.1 * rng.standard_normal(SAMPLE_RATE))
    log_mel(np.zeros(640))  # loads what is loaded once
    tracemalloc.start()
    stream, rows = MelStream(), 0
    for block in iter_audio(tmp_path / "long.wav"):
        rows += len(stream.add(block))
    rows += len(stream.flush())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 4 * 25 * 120
    assert peak < 6e6


def test_what_a_lossy_codec_decodes_beyond_full_scale_is_not_cut(tmp_path):
    wave = np.sign(np.sin(2 * np.pi * 180 * np.arange(32000) / 16000)).astype(np.float32)
    with av.open(str(tmp_path / "a.m4a"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert 1.02 < np.abs(load_audio(tmp_path / "a.m4a")).max() < 1.6


def test_stereo_of_opposite_phase_is_not_cancelled(tmp_path, voice):
    """The louder channel is used while the two cancel; ordinary stereo is averaged."""
    loud = np.concatenate([voice, voice])
    opposite = np.stack([0.8 * loud, -loud], 1)
    opposite[len(voice) :, 0] = loud[len(voice) :]
    for name, subtype in (("a.wav", "PCM_16"), ("b.wav", "FLOAT"), ("c.flac", "PCM_24")):
        soundfile.write(tmp_path / name, opposite, SAMPLE_RATE, subtype)
        wave = load_audio(tmp_path / name)
        first = wave[: len(voice)]
        assert np.abs(first + voice).max() < 2e-3 * np.abs(voice).max() + 1e-3
    soundfile.write(tmp_path / "d.wav", np.stack([voice, 0.5 * voice], 1), SAMPLE_RATE, "FLOAT")
    np.testing.assert_allclose(load_audio(tmp_path / "d.wav"), 0.75 * voice, atol=1e-4)


def two_tracks(path, first: np.ndarray, second: np.ndarray, default: int) -> None:
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono") for _ in "ab"]
        streams[default].disposition = Disposition.default
        for stream, wave in zip(streams, (first, second), strict=True):
            samples = (wave * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def test_of_several_tracks_the_default_or_the_chosen_one_is_decoded(tmp_path, voice):
    other = voice[::-1].copy()
    two_tracks(tmp_path / "a.mkv", voice, other, default=1)
    for track, expected in ((None, other), (1, voice), (2, other)):
        wave = load_audio(tmp_path / "a.mkv", track=track)
        np.testing.assert_allclose(wave, expected, atol=1e-3)
    with pytest.raises(UserError, match="--audio-track '3' is not a sound track .*1 to 2"):
        load_audio(tmp_path / "a.mkv", track=3)


def test_unsupported_codecs_formats_and_pointers_are_named(tmp_path, voice):
    two_tracks(tmp_path / "a.mkv", voice, voice, default=0)
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data.replace(b"A_PCM/INT/LIT", b"A_UNHEARDOF/X"))
    (tmp_path / "c.ac4").write_bytes(bytes.fromhex("ac40ffff000100") + bytes(4096))
    (tmp_path / "e.wav").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    for name, problem in (
        ("b.mkv", "uses a codec of audio that is not supported; convert it"),
        ("c.ac4", r"is in a format that is not supported \(AC4\)"),
        ("e.wav", "is a Git LFS pointer; run git lfs pull"),
    ):
        with pytest.raises(UserError, match=problem):
            load_audio(tmp_path / name)
