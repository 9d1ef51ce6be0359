"""Live audio to coefficients: a stream of samples in, frames out with bounded latency::

    networks, portrait = load_audio_to_motion(), load_portrait(path, 256)
    stream = TalkingStream(networks, portrait.coefficients, EmotionTrack.constant("happy", 8))
    for samples in microphone:                  # 16 kHz mono, pieces of any length
        render(stream.add(samples))          # Coefficients of 0, 8, 16 ... frames
    render(stream.flush())

A frame comes out once :attr:`TalkingStream.latency` seconds of audio after it have arrived,
whatever the pieces, with bit-identical values. With a given ``gain`` they are those of the whole
recording at that gain; without one the loudness is followed
(:class:`emo_lightning.media.loudness.RunningGain`). Setting ``networks.block = 4`` beforehand
shortens the latency by 0.16 s.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference.audio_to_motion import AudioToMotion, AudioToMotionStream
from emo_lightning.media.loudness import RunningGain
from emo_lightning.media.spectrogram import HOP, MEL_KINDS, MelStream
from emo_lightning.motion.emotion_track import EmotionTrack


class TalkingStream:
    """One speaker's live audio to coefficients.

    Args:
        networks: see :func:`emo_lightning.inference.weights.load_audio_to_motion`.
        source: coefficients of the portrait, one frame.
        track: emotion over time.
        seed: of head motion and blinks; the same seed and audio give the same result.
        head_motion: False keeps the portrait's pose.
        gain: factor on the samples where the level is known beforehand; None follows it.
        level_from_voice: see :meth:`AudioToMotion.generate`.

    Attributes:
        latency: seconds of audio after a frame that must have arrived before its output, at most.

    Raises:
        MismatchError: the portrait's coefficients have another layout than the motion model.
    """

    def __init__(
        self,
        networks: AudioToMotion,
        source: Coefficients,
        track: EmotionTrack,
        seed: int = 0,
        head_motion: bool = True,
        gain: float | None = None,
        level_from_voice: float = 0.0,
    ) -> None:
        self._run = AudioToMotionStream(
            networks, source, track, seed, head_motion, level_from_voice
        )
        self._mel = MelStream(networks.mel_kind)
        self._window = HOP + MEL_KINDS[networks.mel_kind].lead
        self._waiting: list[np.ndarray] = []
        self._samples = 0
        self._gain = RunningGain() if gain is None else np.float32(gain)
        self._no_frames = source.frames(slice(0, 0))
        self.latency = networks.latency

    @property
    def frames_done(self) -> int:
        """Frames generated so far."""
        return self._run.frames_done

    def add(self, samples: np.ndarray) -> Coefficients:
        """Add ``(n,)`` samples, 16 kHz mono in [-1, 1]; return the frames they complete, if any."""
        samples = np.asarray(samples, np.float32)
        self._waiting.append(samples)
        self._samples += len(samples)
        # Nothing is computed before a block is complete, so small pieces cost no more than large.
        if self._samples < HOP * (self._run.rows_needed - 1) + self._window:
            return self._no_frames
        return self._joined(self._run.add(self._mel.add(self._normalized())))

    def flush(self) -> Coefficients:
        """Remaining frames, as if silence followed."""
        rows = np.concatenate([self._mel.add(self._normalized()), self._mel.flush()])
        return self._joined([*self._run.add(rows), *self._run.flush()])

    def _normalized(self) -> np.ndarray:
        """Waiting samples at the common loudness."""
        samples, self._waiting = np.concatenate([np.zeros(0, np.float32), *self._waiting]), []
        if isinstance(self._gain, RunningGain):
            return self._gain.apply(samples)
        return self._gain * samples

    def _joined(self, pieces: Iterable[Coefficients]) -> Coefficients:
        rows = [piece.joined() for piece in pieces]
        if not rows:
            return self._no_frames
        return Coefficients.from_joined(self._no_frames.layout, np.concatenate(rows))
