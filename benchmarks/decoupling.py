"""What the decoupler's features still say of emotion, intensity, speaker and phone: probes on frozen features.

    python -m benchmarks decoupling [--data SHARDS] [--ravdess SHARDS] [--checkpoint-dir D] [--compare NAME=DIR ...]

SHARDS of ``--data`` are the embedded corpus (``emo corpus``), made small if none are named; probes are fitted to its train
split and tested on its val and test splits, whose speakers and sentences train does not have. The speaker probe is fitted to
train's speakers and tested on sentences of theirs that it was not fitted to. On ``--ravdess`` (``emo preprocess --source
ravdess``) probes are fitted to real voices, and tested on actors held out, in six folds.

Two readings: *frame*, the vector of one video frame (of the spectrogram: the nine frames that the controller sees), and *clip*,
mean and standard deviation over the frames of speech. ``--compare`` adds another decoupler's features, such as one trained with
``loss.contrast=0``. Phones are the 39 of the CMU dictionary.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.fft import dct

from benchmarks._probes import KINDS, Problem, Score, probe

CLIPS = 320
"""Of the corpus that is made when none is named."""
MFCC = 20
AROUND = 4
"""Frames of the spectrogram before and after the present one; with it the nine of the controller's window."""
SPEECH_DB = 30.0
"""Frames within this of a clip's loudest twentieth are speech."""
FRAMES_OF_TRAIN, FRAMES_OF_TEST = 8, 12
"""Frames of speech drawn from each clip."""
FOLDS = 6
LEVELS = ("low", "mid", "high", "content")


@dataclass(frozen=True)
class Clip:
    """One clip: its labels, ``speech`` (T,) bool, ``phones`` (T,) int or None, and each feature (T, D) by name."""

    split: str
    speaker: str
    sentence: str
    emotion: int
    intensity: int
    speech: np.ndarray
    phones: np.ndarray | None
    features: dict[str, np.ndarray]


def main(arguments: Sequence[str] = ()) -> None:
    """Print one table a data set."""
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="benchmarks decoupling", description=__doc__, formatter_class=shape)
    parser.add_argument("--data", type=Path, help=f"shards of the embedded corpus; {CLIPS} clips are made without")
    parser.add_argument("--ravdess", type=Path, help="shards of RAVDESS; left out without")
    parser.add_argument("--checkpoint-dir", type=Path, help="trained weights; those shipped by default")
    parser.add_argument("--compare", action="append", default=[], metavar="NAME=DIR", help="another decoupler's features beside it")
    parser.add_argument("--seeds", type=int, default=3, help="probes of each kind (default: %(default)s)")
    args = parser.parse_args(arguments)
    nets = {"": _network(args.checkpoint_dir)}
    for pair in args.compare:
        name, _, folder = pair.partition("=")
        nets[name] = _network(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or _small_corpus(Path(folder))
        corpus_tables(read(data, nets), range(args.seeds))
    if args.ravdess is None:
        print("\nskipped: --ravdess names no shards of RAVDESS")
        return
    real_table(read(args.ravdess, nets), range(args.seeds))


def _small_corpus(folder: Path) -> Path:
    from datamodules.corpus.build import build_corpus

    build_corpus(folder, CLIPS, video=False, progress=False)
    return folder


def _network(folder: Path | None) -> Any:
    from emo_lightning.checkpoints import SHIPPED, load_decoupler, read_network

    path = (folder or SHIPPED) / "decoupler.safetensors"
    return load_decoupler(read_network(path, "decoupler", "--checkpoint-dir")).eval()


def read(data: Path, nets: Mapping[str, Any]) -> list[Clip]:
    """Every clip of a set with the features of the spectrogram and of each network, as generation hears the sound."""
    from datamodules.corpus.phones import frame_phones
    from datamodules.shards import iter_samples
    from emo_lightning.audio import log_mel
    from emo_lightning.emotions import EMOTIONS
    from emo_lightning.loudness import levelled

    clips = []
    for sample in iter_samples(data, None, ("wave",)):
        wave, meta = levelled(sample.wave), sample.meta
        if meta.emotion is None:
            continue
        mel = log_mel(wave)
        features = {"mel": mel.reshape(-1, 4, 80).mean(axis=1)}
        features["mel + MFCC"] = np.concatenate([features["mel"], cepstrum(features["mel"])], axis=1)
        for name, net in nets.items():
            features |= levels(net, mel, f" {name}" if name else "")
        frames = len(features["mel"])
        marks = meta.extra.get("phones")
        phones = None if marks is None else frame_phones(marks, frames)
        emotion, intensity = EMOTIONS.index(meta.emotion), meta.intensity or 0
        clips.append(Clip(meta.split, meta.speaker, meta.sentence or "", emotion, intensity, spoken(wave, frames), phones, features))
    return clips


@torch.inference_mode()
def levels(net: Any, mel: np.ndarray, suffix: str = "") -> dict[str, np.ndarray]:
    """A network's features ``(T, D)`` by name."""
    out = net(torch.from_numpy(mel)[None])
    return {f"{name}{suffix}": getattr(out, name)[0].numpy() for name in LEVELS}


def cepstrum(mel: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstral coefficients 1..20 of log mel rows."""
    return dct(mel, axis=1, norm="ortho")[:, 1 : MFCC + 1].astype(np.float32)


def spoken(wave: np.ndarray, frames: int) -> np.ndarray:
    """Which video frames hold speech, ``(frames,)`` bool."""
    padded = np.pad(wave, (0, max(0, frames * 640 - len(wave))))[: frames * 640]
    level = 10 * np.log10(np.square(padded.reshape(frames, 640).astype(np.float64)).mean(axis=1) + 1e-12)
    return level > np.percentile(level, 95) - SPEECH_DB


def clip_rows(clips: Sequence[Clip], name: str) -> np.ndarray:
    """Mean and standard deviation over the frames of speech, ``(clips, 2 D)``."""
    return np.stack([np.concatenate([c.features[name][c.speech].mean(axis=0), c.features[name][c.speech].std(axis=0)]) for c in clips])


def frame_rows(clips: Sequence[Clip], name: str, counts: Sequence[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of speech drawn from each clip: features ``(N, D)``, the clip of each row and its frame."""
    generator = np.random.default_rng([seed, 12])
    rows, owners, places = [], [], []
    for number, (clip, count) in enumerate(zip(clips, counts, strict=True)):
        there = np.flatnonzero(clip.speech)
        chosen = np.sort(generator.choice(there, min(count, len(there)), replace=False))
        feature = clip.features[name]
        if name.startswith("mel"):
            around = np.clip(chosen[:, None] + np.arange(-AROUND, AROUND + 1), 0, len(feature) - 1)
            rows.append(feature[around].reshape(len(chosen), (2 * AROUND + 1) * feature.shape[1]))
        else:
            rows.append(feature[chosen])
        owners.append(np.full(len(chosen), number))
        places.append(chosen)
    return np.concatenate(rows), np.concatenate(owners), np.concatenate(places)


@dataclass(frozen=True)
class Question:
    """What is asked of the features: a label of each clip (-1: not asked), and which clips fit and which test."""

    name: str
    labels: np.ndarray
    groups: np.ndarray
    train: np.ndarray
    test: np.ndarray


def questions(clips: Sequence[Clip]) -> list[Question]:
    """Emotion, intensity and speaker of the embedded corpus."""
    split = np.array([clip.split for clip in clips])
    train, test = split == "train", split != "train"
    emotion = np.array([clip.emotion for clip in clips])
    intensity = np.array([clip.intensity for clip in clips]) - 1
    speakers, sentences = (_places([getattr(clip, name) for clip in clips]) for name in ("speaker", "sentence"))
    # Names are numbered anew among train's speakers: a class that is never tested would be no class.
    own = np.where(train, _places([clip.speaker if clip.split == "train" else "" for clip in clips]), -1)
    own = own - own[train].min() if train.any() else own
    other = train & (sentences % 4 == 0)
    return [
        Question("emotion", emotion, speakers, train, test),
        *(
            Question(f"emotion, intensity {grade}", emotion, speakers, train & chosen, test & chosen)
            for grade in (1, 2, 3)
            for chosen in [(intensity == grade - 1) | (emotion == 0)]
        ),
        Question("intensity", intensity, speakers, train & (intensity >= 0), test & (intensity >= 0)),
        Question("speaker", own, sentences, train & ~other, other),
    ]


def ask(clips: Sequence[Clip], name: str, question: Question, reading: str) -> Problem:
    """A question about one feature as a problem for a probe."""
    if reading == "clip":
        rows, owners = clip_rows(clips, name), np.arange(len(clips))
    else:
        counts = np.where(question.train, FRAMES_OF_TRAIN, np.where(question.test, FRAMES_OF_TEST, 0)).tolist()
        rows, owners, _ = frame_rows(clips, name, counts)
    return Problem(rows, question.labels[owners], owners, question.groups[owners], question.train[owners], question.test[owners])


def phone_problem(clips: Sequence[Clip], name: str) -> Problem:
    """Which of the 39 phones a frame is of."""
    split = np.array([clip.split for clip in clips])
    groups = _places([clip.speaker for clip in clips])
    rows, owners, places = frame_rows(clips, name, [3 * FRAMES_OF_TRAIN if s == "train" else 3 * FRAMES_OF_TEST for s in split])
    labels = np.array([clips[owner].phones[place] - 1 for owner, place in zip(owners, places, strict=True)])
    said = labels >= 0
    train = (split == "train")[owners]
    return Problem(rows, labels, owners, groups[owners], train & said, ~train & said)


def corpus_tables(clips: Sequence[Clip], seeds: Sequence[int]) -> None:
    """Emotion, intensity, speaker and phone from every feature of the embedded corpus."""
    start = time.monotonic()
    asked = questions(clips)
    header = ["features", "reading", "probe", *(q.name for q in asked), "phone"]
    fitted = sum(clip.split == "train" for clip in clips)
    print(f"\nEmbedded corpus: {fitted} clips to fit, seeds {list(seeds)}; mean recall, 95 % interval over clips")
    print("| " + " | ".join(header) + " |\n|---|---|---|" + "---:|" * (len(header) - 3))
    last: dict[str, Score] = {}
    for name in clips[0].features:
        for reading in ("frame", "clip"):
            made = {q.name: ask(clips, name, q, reading) for q in asked}
            if reading == "frame" and all(clip.phones is not None for clip in clips):
                made["phone"] = phone_problem(clips, name)
            for kind in KINDS:
                scores = {key: probe(problem, kind, seeds if key != "phone" else list(seeds)[:1]) for key, problem in made.items()}
                last |= scores
                cells = [str(scores[key]) if key in scores else "" for key in header[3:]]
                print("| " + " | ".join([name, reading, kind, *cells]) + " |", flush=True)
    cells = [f"{last[key].chance:.3f}, n {last[key].clips}" if key in last else "" for key in header[3:]]
    print("| " + " | ".join(["*chance, clips tested*", "", "", *cells]) + " |")
    print(f"{time.monotonic() - start:.0f} s")


def real_table(clips: Sequence[Clip], seeds: Sequence[int]) -> None:
    """Emotion of real voices, actors held out in folds."""
    actors = _places([clip.speaker for clip in clips])
    _, emotion = np.unique([clip.emotion for clip in clips], return_inverse=True)
    fold = np.random.default_rng(0).permutation(actors.max() + 1)[actors] % FOLDS
    print(f"\nReal voices: {len(clips)} clips, {actors.max() + 1} actors, {FOLDS} folds of actors, {emotion.max() + 1} emotions, "
          f"chance {1 / (emotion.max() + 1):.3f}; mean recall, 95 % interval over clips")  # fmt: skip
    print("| features | " + " | ".join(f"{reading}, {kind}" for reading in ("frame", "clip") for kind in KINDS) + " |\n|---|" + "---:|" * 4)
    for name in clips[0].features:
        cells = []
        for reading in ("frame", "clip"):
            folds = [ask(clips, name, Question("emotion", emotion, actors, fold != k, fold == k), reading) for k in range(FOLDS)]
            cells += [str(probe(folds, kind, seeds)) for kind in KINDS]
        print("| " + " | ".join([name, *cells]) + " |", flush=True)


def _places(names: Sequence[str]) -> np.ndarray:
    return np.unique(names, return_inverse=True)[1]


if __name__ == "__main__":
    main()
