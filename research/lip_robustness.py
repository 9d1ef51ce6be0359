"""Robustness of lip sync: noise, another recording, silence, seven languages.

python -m research.lip_robustness --data SHARDS ... [--checkpoint-dir D]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import _lips
from benchmarks._lips import at_rest, closures, drive, shape_lips
from datamodules.corpus.speech import Voice, synthesise
from emo_lightning.core.constants import FPS
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.inference.weights import load_audio_to_motion
from emo_lightning.motion.emotion_track import EmotionTrack

SNR_DB = 10.0
SENTENCES = {
    "English": ("en-us", "My brother bought a big map before moving to Boston last summer."),
    "German": ("de", "Mein Bruder kaufte eine große Karte, bevor er im Sommer nach Bremen zog."),
    "French": ("fr", "Mon frère a acheté une belle carte avant de partir pour Bordeaux."),
    "Spanish": ("es", "Mi hermano compró un mapa grande antes de mudarse a Barcelona."),
    "Russian": ("ru", "Мой брат купил большую карту, прежде чем переехать в Москву."),
    "Hindi": ("hi", "मेरे भाई ने मुंबई जाने से पहले एक बड़ा नक्शा खरीदा।"),
    "Chinese": ("cmn", "我哥哥去北京以前买了一张很大的地图。"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m research.lip_robustness", description=__doc__)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--checkpoint-dir", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    args = parser.parse_args(arguments or None)
    systems = {"weights": load_audio_to_motion(args.checkpoint_dir)}
    sets = {where.name: _lips.read(where, None, args.clips) for where in args.data}
    noise_table(systems, sets)
    mouth_table(systems, next(iter(sets.values()))[0].source)


def noise_table(systems: dict[str, AudioToMotion], sets: dict[str, list]) -> None:
    """What noise costs, and what is left when the sound is another's."""
    print(
        f"\n| set | weights | clean | pink noise, {SNR_DB:g} dB below | kept | another's sound "
        "|\n|---|---|---|---|---:|---|"
    )
    for place, clips in sets.items():
        for name, talker in systems.items():
            waves: dict[str, Callable[[int], np.ndarray]] = {
                "clean": lambda i, of=clips: of[i].wave,
                "noisy": lambda i, of=clips: noisy(of[i].wave, SNR_DB, i),
                "other": lambda i, of=clips: of[(i + 1) % len(of)].wave,
            }
            means = {}
            for kind, wave in waves.items():
                found = [
                    _lips.following(_lips.made_lips(talker, clip, wave(i)), clip.lips).best
                    for i, clip in enumerate(clips)
                ]
                means[kind] = np.nanmean(found, axis=0)
            kept = means["noisy"] / means["clean"]
            clean, rough, other = (f"{means[kind][0]:.2f} / {means[kind][1]:.2f}" for kind in waves)
            print(
                f"| {place} | {name} | {clean} | {rough} | {kept[0]:.0%} / {kept[1]:.0%} | {other} "
                "|",
                flush=True,
            )


def mouth_table(systems: dict[str, AudioToMotion], source: object) -> None:
    """Silence and languages."""
    print(
        "\n| weights | between two sentences | opening at most | change a frame at most "
        "|\n|---|---|---:|---:|"
    )
    for name, talker in systems.items():
        for sound, (opening, change) in stillness(talker, source).items():
            print(f"| {name} | {sound} | {opening:.3f} | {change:.4f} |")
    print(
        "\n| weights | language | opening's spread | width's spread | by English | p, b, m closed "
        "|\n|---|---|---:|---:|---|---:|"
    )
    for name, talker in systems.items():
        english: np.ndarray | None = None
        for language, spread, closed in languages(talker, source):
            english = spread if english is None else english
            share = f"{spread[0] / english[0]:.0%} / {spread[1] / english[1]:.0%}"
            print(
                f"| {name} | {language} | {spread[0]:.3f} | {spread[1]:.3f} | {share} | "
                f"{closed:.0%} |",
                flush=True,
            )


def noisy(wave: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """The recording with pink noise, so many dB below its speech."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(len(wave)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1.0))
    noise = np.fft.irfft(spectrum, len(wave))
    loud = np.square(wave, dtype=np.float64).reshape(-1)
    speech = np.sqrt(loud[loud >= np.quantile(loud, 0.5)].mean())
    return (wave + noise * speech / noise.std() * 10.0 ** (-snr_db / 20.0)).astype(np.float32)


def stillness(
    talker: AudioToMotion, source: Coefficients, seconds: float = 3.0
) -> dict[str, tuple[float, float]]:
    """Largest opening beyond rest and largest change from frame to frame in a pause, silent or of a
    room 45 dB below the speech.

    Half a second at either end of the pause is left for the mouth to close and to open.
    """
    speech = synthesise(SENTENCES["English"][1], Voice("espeak", "en-us+m3")).wave
    level = float(np.sqrt(np.square(speech, dtype=np.float64).mean()))
    room = (
        level
        * 10.0 ** (-45.0 / 20.0)
        * np.random.default_rng(0).standard_normal(int(16000 * seconds))
    )
    start, end = int(len(speech) / 640 + 0.5 * FPS), int(len(speech) / 640 + (seconds - 0.5) * FPS)
    found = {}
    for name, pause in (("silence", room * 0.0), ("a quiet room", room)):
        wave = np.concatenate([speech, pause, speech]).astype(np.float32)
        opening = shape_lips(drive(talker, wave, source, EmotionTrack.constant("neutral", 1)))[
            start:end, 0
        ] - at_rest(source)
        found[name] = (float(opening.max()), float(np.abs(np.diff(opening)).max()))
    return found


def languages(
    talker: AudioToMotion, source: Coefficients
) -> Iterator[tuple[str, np.ndarray, float]]:
    """(language, spread of opening and width over its sentence, share of p, b, m closed), synthetic
    voices.
    """
    neutral = EmotionTrack.constant("neutral", 1)
    for language, (voice, sentence) in SENTENCES.items():
        speech = synthesise(sentence, Voice("espeak", f"{voice}+m3"))
        lips = shape_lips(drive(talker, speech.wave, source, neutral))
        closed = closures(lips[:, 0], at_rest(source), speech.phones)
        yield language, lips.std(axis=0), float(np.mean(closed)) if closed else float("nan")


if __name__ == "__main__":
    main()
