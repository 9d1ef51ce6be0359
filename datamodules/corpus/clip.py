"""One line of the script as a sample: audio, coefficients, landmarks and, if wanted, frames."""

from __future__ import annotations

from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from datamodules.corpus.emotion_acting import acted_emotion, combine
from datamodules.corpus.heads import with_irises
from datamodules.corpus.motion import head_motion
from datamodules.corpus.prosody import prosody_for
from datamodules.corpus.script import Line
from datamodules.corpus.speakers import CorpusSpeaker
from datamodules.corpus.speech import Speech, synthesise
from datamodules.corpus.visemes import articulate, stressed_times
from datamodules.shards.schema import Sample, SampleMeta
from emo_lightning import __version__
from emo_lightning.core.constants import frames_for
from emo_lightning.face.builtin import BuiltinFaceModel
from emo_lightning.face.coefficients import BUILTIN, EXP_NAMES, Coefficients, read_aus
from emo_lightning.face.portrait import Portrait
from emo_lightning.media.video_writer import encode_mp4_bytes
from emo_lightning.renderers.base import stream
from emo_lightning.renderers.registry import create

SHORTEST = 2.0
"""Seconds; a shorter sentence is padded with silence."""
SOURCE = "corpus"


def make_sample(line: Line, speaker: CorpusSpeaker, portrait: Portrait, seed: int) -> Sample:
    """Everything but the frames; a function of its arguments alone."""
    rng = np.random.default_rng([seed, 3, line.number])
    prosody = prosody_for(line.emotion, line.level, speaker.vocal)
    speech = _speech(line, speaker, rng)
    frames = frames_for(len(speech.wave))
    articulation = articulate(speech, frames, speaker.lips, prosody.gain_db)
    stresses = stressed_times(speech)
    emotion = acted_emotion(line.emotion, line.level, frames, speaker.acting, rng, stresses)
    exp = combine(articulation, emotion, speaker.acting.resting)
    motion = head_motion(line.emotion, line.level, frames, stresses, speaker.motion, rng)
    for name in ("AU45_L", "AU45_R"):
        exp[:, EXP_NAMES.index(name)] = np.maximum(exp[:, EXP_NAMES.index(name)], motion.blink)
    own = portrait.coefficients
    still = {block: np.repeat(own[block][:1], frames, axis=0) for block in BUILTIN.blocks}
    moving = {
        "exp": exp,
        "angle": still["angle"] + motion.angle,
        "trans": still["trans"] + motion.trans,
    }
    coefficients = Coefficients(BUILTIN, {**still, **moving})
    meta = SampleMeta(
        source=SOURCE,
        speaker=speaker.name,
        frames=frames,
        layout=BUILTIN.to_dict(),
        split=speaker.split,
        sentence=line.sentence,
        emotion=line.emotion,
        intensity=line.intensity,
        level=None if line.level is None else float(line.level),
        tools=_tools(),
        extra=_extra(line, speaker, speech),
    )
    landmarks = with_irises(BuiltinFaceModel.load().project(coefficients))
    key = f"clip{line.number:06d}_{speaker.name}_{line.emotion}_{line.level or 0:02d}"
    return Sample(key, meta, speech.wave, coefficients, read_aus(exp), landmarks)


def render_video(source: Any, coefficients: Coefficients) -> bytes:
    """The clip's mp4 from a source that :func:`renderer` prepared."""
    return encode_mp4_bytes(list(stream(renderer(), source, [coefficients])))


@lru_cache(maxsize=1)
def renderer() -> Any:
    """The geometric renderer."""
    return create("mesh")


def _speech(line: Line, speaker: CorpusSpeaker, rng: np.random.Generator) -> Speech:
    prosody = prosody_for(line.emotion, line.level, speaker.vocal)
    lead, tail = float(rng.uniform(0.15, 0.35)), float(rng.uniform(0.2, 0.45))
    seed = int(rng.integers(1 << 31))
    speech = synthesise(line.sentence, speaker.voice, prosody, seed, lead, tail)
    if speech.seconds >= SHORTEST:
        return speech
    tail += SHORTEST - speech.seconds
    return synthesise(line.sentence, speaker.voice, prosody, seed, lead, tail)


def _extra(line: Line, speaker: CorpusSpeaker, speech: Speech) -> dict[str, Any]:
    phones = [[symbol, round(start, 4), round(end, 4)] for symbol, start, end in speech.phones]
    head = "painted" if speaker.portrait is None else "portrait"
    return {"phones": phones, "voice": asdict(speaker.voice), "head": head, "line": line.number}


@lru_cache(maxsize=1)
def _tools() -> dict[str, str]:
    tools = {"emo-lightning": __version__}
    for name in ("espeakng-loader", "hibari-tts"):
        try:
            tools[name] = version(name)
        except PackageNotFoundError:
            tools[name] = "unknown"
    return tools
