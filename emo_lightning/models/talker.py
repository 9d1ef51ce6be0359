"""From sound to coefficients: the decoupler and the heads joined for inference, a stream in and a stream out.

Sound is worked on in blocks of fixed length and place, each with the context that the networks look at, so the result
does not depend on how the sound arrives and memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from emo_lightning.coefficients import Coefficients, Layout
from emo_lightning.emotions import EMOTIONS, EmotionTrack
from emo_lightning.errors import UserError
from emo_lightning.models.blinks import BlinkProcess
from emo_lightning.models.decoupler import AudioDecoupler
from emo_lightning.models.ear import Ear, MelEar
from emo_lightning.models.heads import EXP_CEILING, Heads
from emo_lightning.models.posenet import POSE_SIZE, PoseStream
from emo_lightning.models.voice_level import VoiceLevel

FPS = 25.0
BLOCK = 32
"""Video frames worked on at a time."""
LIDS = ("AU45_L", "AU45_R")


class Talker:
    """Sound, portrait coefficients and an emotion track to coefficients a frame."""

    def __init__(self, decoupler: AudioDecoupler, heads: Heads, ear: Ear | None = None) -> None:
        self.decoupler, self.heads, self.ear = decoupler.eval(), heads.eval(), ear or MelEar()
        if self.ear.kind != decoupler.config.front_end:
            raise ValueError(f"a decoupler of {decoupler.config.front_end} cannot hear with {self.ear.kind}")

    @staticmethod
    def from_modules(decoupler: AudioDecoupler, heads: Heads, ear: Ear | None = None) -> Talker:
        """Join two networks that were trained for each other, with the ear of their front end (our mel by default)."""
        return Talker(decoupler, heads, ear)

    @property
    def sound(self) -> str:
        """The kind of rows (:data:`emo_lightning.audio.MEL_KINDS`) that :meth:`generate` takes."""
        return self.ear.kind

    @property
    def layout(self) -> Layout:
        """The coefficients' layout."""
        return self.heads.layout

    @property
    def latency(self) -> float:
        """Seconds of sound after a frame that must have arrived before the frame comes out, at most."""
        ahead = self.ear.ahead + self.decoupler.reach.future + self.heads.reach.future + self.heads.posenet.window
        return (ahead + BLOCK - 1) / FPS

    def generate(
        self,
        mel_blocks: Iterable[np.ndarray],
        source: Coefficients,
        track: EmotionTrack,
        seed: int = 0,
        head_motion: bool = True,
        total_frames: int | None = None,
        voice_level: float = 0.0,
    ) -> Iterator[Coefficients]:
        """Coefficients in pieces of some frames.

        Args:
            mel_blocks: pieces ``(n, 80)`` of the log mel spectrogram of the kind :attr:`sound`, of any length; 4 rows a video frame.
            source: the portrait's coefficients, one frame.
            track: emotion over time.
            seed: draws head motion and blinks; same seed, same result.
            head_motion: False keeps the portrait's pose.
            total_frames: frames to make; by default as many as the sound has. Missing sound counts as silence.
            voice_level: levels by which a voice stronger or weaker than its own middle may move the track's, either way.

        Raises:
            MismatchError: the portrait's coefficients have another layout than the heads.
            UserError: a voice level asked of a talker that hears no mel.
        """
        if voice_level > 0 and self.ear.kind != "mel":
            raise UserError("--voice-level", voice_level, "0 with weights that hear through Whisper", "reads the mel spectrogram")
        self.layout.check_same(source.layout, "the trained heads", "the portrait's coefficients")
        faces = _FaceStream(self, source, track, seed, voice_level)
        poses = PoseStream(self.heads.posenet, seed) if head_motion else _StillPose()
        start = np.concatenate([source["angle"], source["trans"]], axis=1)
        values, moved = source.joined()[:0], np.zeros((0, POSE_SIZE), np.float32)
        for mel, frames in self._blocks(self.ear.stream(mel_blocks), total_frames):
            face, condition = faces.push(mel, frames)
            values = np.concatenate([values, face])
            moved = np.concatenate([moved, poses.push(condition).numpy()])
            if len(moved):
                yield self._placed(values[: len(moved)], start + moved)
                values, moved = values[len(moved) :], moved[:0]
        if len(values):
            yield self._placed(values, start + poses.finish(faces.done).numpy())

    def _blocks(self, mel_blocks: Iterable[np.ndarray], total: int | None) -> Iterator[tuple[Tensor, int]]:
        """Sound of :data:`BLOCK` frames with context, ``(1, per_frame (BLOCK + reach), n)``, and how many of the frames count."""
        reach, per_frame = self.decoupler.reach + self.heads.reach, self.ear.front_end.per_frame
        context, step = per_frame * reach.total, per_frame * BLOCK
        rows = self._quiet(per_frame * reach.past)
        heard = made = 0
        for block in mel_blocks:
            heard += len(block)
            rows = np.concatenate([rows, np.asarray(block, np.float32)])
            while len(rows) >= step + context and (total is None or made < total):
                frames = BLOCK if total is None else min(BLOCK, total - made)
                yield torch.from_numpy(rows[: step + context])[None], frames
                rows, made = rows[step:], made + frames
            if total is not None and made >= total:
                return
        total = heard // per_frame if total is None else total
        while made < total:
            rows = np.concatenate([rows, self._quiet(max(step + context - len(rows), 0))])
            frames = min(BLOCK, total - made)
            yield torch.from_numpy(rows[: step + context])[None], frames
            rows, made = rows[step:], made + frames

    def _quiet(self, rows: int) -> np.ndarray:
        """Silence as the decoupler hears it, ``(rows, n)``."""
        return np.repeat(self.ear.quiet[None], rows, axis=0)

    def _placed(self, values: np.ndarray, pose: np.ndarray) -> Coefficients:
        """Coefficients ``(n, size)`` with the pose ``(n, 6)`` put in."""
        return Coefficients.from_joined(self.layout, values).replace(angle=pose[:, :3], trans=pose[:, 3:])


class _StillPose:
    """Head motion that is none."""

    def push(self, condition: Tensor) -> Tensor:
        return torch.zeros(len(condition), POSE_SIZE)

    def finish(self, frames: int) -> Tensor:
        return torch.zeros(0, POSE_SIZE)


class _FaceStream:
    """Block after block of sound to everything but the pose."""

    def __init__(self, talker: Talker, source: Coefficients, track: EmotionTrack, seed: int, voice_level: float) -> None:
        self._talker, self._source, self._track = talker, source, track
        self._blinks = BlinkProcess(seed)
        self._lids = [i for i, name in enumerate(talker.layout.exp_names) if name in LIDS]
        emotions = torch.tensor([key.emotion for key in track.keys])
        levels = torch.tensor([key.level for key in track.keys])
        with torch.no_grad():
            self._controls = talker.heads.matrix(emotions, levels)
        self._felt = emotions
        self._voice = VoiceLevel(levels, voice_level, talker.decoupler.reach + talker.heads.reach) if voice_level > 0 else None
        self._emotions = np.eye(len(EMOTIONS), dtype=np.float32)[emotions.numpy()]
        self.done = 0

    @torch.no_grad()
    def push(self, mel: Tensor, frames: int) -> tuple[np.ndarray, Tensor]:
        """Joined coefficients ``(frames, size)`` in the source's pose, and what PoseNet goes by, ``(frames, condition)``."""
        heads, layout = self._talker.heads, self._talker.layout
        weights = self._track.weights((self.done + np.arange(BLOCK)) / FPS)
        control = self._control(mel, torch.from_numpy(weights))
        source = self._source.joined()
        out = heads(self._talker.decoupler.content(mel), torch.from_numpy(source), control[None])
        values = np.repeat(source, frames, axis=0)
        for block, tensor in (("id", out.id), ("exp", out.exp), ("tex", out.tex)):
            values[:, layout.slice(block)] = tensor[0, :frames].numpy()
        if layout.exp_names:
            exp = values[:, layout.slice("exp")].clip(0.0, EXP_CEILING)
            exp[:, self._lids] = self._blinks.push(weights[:frames] @ self._emotions)[:, None]
            values[:, layout.slice("exp")] = exp
        self.done += frames
        return values, out.condition[0, :frames]

    def _control(self, mel: Tensor, weights: Tensor) -> Tensor:
        """Control vectors ``(BLOCK, 24)`` of the track, at levels that follow the voice where that is wanted."""
        if self._voice is None:
            return weights @ self._controls
        levels = self._voice.push(mel[0].numpy())
        cells = self._talker.heads.matrix(self._felt.expand(len(levels), -1), levels)
        return (weights[..., None] * cells).sum(dim=1)
