"""Coefficients while sound arrives: a class to push samples into, and a generator around it.

    talker, portrait = load_audio_to_motion(), load_portrait(path, 256)
    stream = TalkingStream(talker, portrait.coefficients, EmotionTrack.constant("happy", 8))
    for samples in microphone:                  # 16 kHz mono, pieces of any length
        draw(stream.push(samples))              # Coefficients of 0, 8, 16 ... frames
    draw(stream.finish())

A frame comes out when the sound has gone on for :attr:`TalkingStream.latency` seconds after it, however the sound is cut,
and with the same numbers, bit for bit. With a ``gain`` that is given, they are those of the whole recording at that gain.
Without one the level is followed as it is heard (:class:`emo_lightning.media.loudness.RunningGain`). ``talker.block = 4`` before the
stream is made cuts the latency by 0.16 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion, AudioToMotionStream
from emo_lightning.media.loudness import RunningGain
from emo_lightning.media.spectrogram import HOP, MEL_KINDS, MelStream
from emo_lightning.motion.emotions import EmotionTrack


class TalkingStream:
    """One speaker's live sound to coefficients.

    Args:
        talker: trained networks, see :func:`emo_lightning.inference.weights.load_audio_to_motion`.
        source: the portrait's coefficients, one frame.
        track: emotion over time.
        seed: draws head motion and blinks; same seed and sound, same result.
        head_motion: False keeps the portrait's pose.
        gain: factor on the sound, for a level known beforehand; None follows it.
        level_from_voice: see :meth:`emo_lightning.inference.audio_to_motion.AudioToMotion.generate`.

    Raises:
        MismatchError: the portrait's coefficients have another layout than the heads.
    """

    def __init__(
        self, talker: AudioToMotion, source: Coefficients, track: EmotionTrack, seed: int = 0, head_motion: bool = True,
        gain: float | None = None, level_from_voice: float = 0.0,
    ) -> None:  # fmt: skip
        self._run = AudioToMotionStream(talker, source, track, seed, head_motion, level_from_voice)
        self._mel = MelStream(talker.sound)
        self._window = HOP + MEL_KINDS[talker.sound].lead
        self._held: list[np.ndarray] = []
        self._samples = 0
        self._level, self._gain = (
            RunningGain() if gain is None else None,
            np.float32(1.0 if gain is None else gain),
        )
        self._none = source.frames(slice(0, 0))
        self.latency = talker.latency
        """Seconds of sound after a frame that must have arrived before the frame comes out, at most."""

    @property
    def frames(self) -> int:
        """Frames made so far."""
        return self._run.done

    def push(self, samples: np.ndarray) -> Coefficients:
        """Take ``(n,)`` samples, 16 kHz mono in [-1, 1]; the frames that they complete, which may be none."""
        samples = np.asarray(samples, np.float32)
        self._held.append(samples)
        self._samples += len(samples)
        # Nothing is worked on before it completes a block, so small pieces cost no more than large ones.
        if self._samples < HOP * (self._run.wanted - 1) + self._window:
            return self._none
        return self._joined(self._run.push(self._mel.push(self._levelled())))

    def finish(self) -> Coefficients:
        """The frames that are left, as if silence followed."""
        rows = np.concatenate([self._mel.push(self._levelled()), self._mel.finish()])
        return self._joined([*self._run.push(rows), *self._run.finish()])

    def _levelled(self) -> np.ndarray:
        """What was held back, at its level."""
        samples, self._held = np.concatenate([np.zeros(0, np.float32), *self._held]), []
        return self._gain * samples if self._level is None else self._level.push(samples)

    def _joined(self, pieces: Iterable[Coefficients]) -> Coefficients:
        rows = [piece.joined() for piece in pieces]
        return (
            Coefficients.from_joined(self._none.layout, np.concatenate(rows))
            if rows
            else self._none
        )


def talk(
    pieces: Iterable[np.ndarray], talker: AudioToMotion, source: Coefficients, track: EmotionTrack, seed: int = 0, head_motion: bool = True,
    gain: float | None = None, level_from_voice: float = 0.0,
) -> Iterator[Coefficients]:  # fmt: skip
    """:class:`TalkingStream` as a generator: pieces of sound in, pieces of frames out as soon as they are known."""
    stream = TalkingStream(talker, source, track, seed, head_motion, gain, level_from_voice)
    for samples in pieces:
        made = stream.push(samples)
        if len(made):
            yield made
    made = stream.finish()
    if len(made):
        yield made
