"""From sound to coefficients: the decoupler and the heads joined for inference, a stream in and a stream out.

Sound is worked on in blocks of fixed length and place, each with the context that the networks look at, so the result
does not depend on how the sound arrives, to the last bit, and memory does not grow with its length. Blocks are small,
for a frame waits for the rest of its block: :attr:`AudioToMotion.latency` says how long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients, Layout
from emo_lightning.inference.voice_intensity import VoiceLevel
from emo_lightning.models.decoupler.audio_frontend import ROWS_PER_FRAME, Ear, MelFrontend
from emo_lightning.models.decoupler.decoupler import AudioDecoupler
from emo_lightning.models.layers.temporal import lay_out
from emo_lightning.models.motion.motion_model import EXP_CEILING, MotionModel
from emo_lightning.models.motion.posenet import POSE_SIZE, STEP, PoseStream
from emo_lightning.motion.blinking import BlinkProcess
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL, EmotionTrack

BLOCK = 8
"""Video frames worked on at a time unless another :attr:`AudioToMotion.block` is wanted: 70 to 115 times as fast as they play, on one core."""
AHEAD = 64
"""Blocks for which the emotion track is worked out at a time."""
SPECTRUM_SECONDS = 0.02
"""A mel row is known when its window has passed: so long after its video frame's end."""
LIDS = ("AU45_L", "AU45_R")
MOUTH_RESTS = 0.003
"""Mean change of the expression from frame to frame under which nobody speaks: less than in 95 % of pauses, more than in 60 % of speech."""
PAUSE_FRAMES, PAUSE_LASTS = 5, 20
"""Frames of rest that make a pause, and for how many more it invites a blink."""
PAUSE_URGE, SPEECH_URGE = 2.0, 0.75
"""Factors on the blink rate there, and while somebody speaks."""
TURN, TURN_URGE, TURN_MOST = 0.3, 0.15, 1.0
"""A head that turns at so many radians a second adds so much; with the square of its speed, to a limit."""


class AudioToMotion:
    """Sound, portrait coefficients and an emotion track to coefficients a frame.

    Attributes:
        block: video frames worked on at a time, a multiple of 4. 4 halves the wait for the rest of a block and takes half as long again.
            Another block changes results by rounding alone, about 1e-6; with one block they are the same to the last bit.
    """

    def __init__(
        self, decoupler: AudioDecoupler, heads: MotionModel, ear: Ear | None = None
    ) -> None:
        self.decoupler, self.heads, self.ear = decoupler.eval(), heads.eval(), ear or MelFrontend()
        if self.ear.kind != decoupler.config.front_end:
            raise ValueError(
                f"a decoupler of {decoupler.config.front_end} cannot hear with {self.ear.kind}"
            )
        self.block = BLOCK
        for network in (decoupler, heads):
            lay_out(network)

    @staticmethod
    def from_modules(
        decoupler: AudioDecoupler, heads: MotionModel, ear: Ear | None = None
    ) -> AudioToMotion:
        """Join two networks that were trained for each other, with the ear of their front end (our mel by default)."""
        return AudioToMotion(decoupler, heads, ear)

    @property
    def sound(self) -> str:
        """The kind of rows (:data:`emo_lightning.media.spectrogram.MEL_KINDS`) that :meth:`generate` takes."""
        return self.ear.kind

    @property
    def layout(self) -> Layout:
        """The coefficients' layout."""
        return self.heads.layout

    @property
    def latencies(self) -> dict[str, float]:
        """Seconds of sound after a frame that each part waits for; the last is 0 for a block's last frame."""
        return {
            "spectrum": SPECTRUM_SECONDS,
            "Whisper": self.ear.ahead / FPS,
            "decoupler": self.decoupler.reach.future / FPS,
            "ExpNet, EmoNet": self.heads.reach.future / FPS,
            "PoseNet": self.heads.posenet.reach.future / FPS,
            "rest of the block": (self.block - 1) / FPS,
        }

    @property
    def latency(self) -> float:
        """Seconds of sound after a frame that must have arrived before the frame comes out, at most."""
        return sum(self.latencies.values())

    def generate(
        self,
        mel_blocks: Iterable[np.ndarray],
        source: Coefficients,
        track: EmotionTrack,
        seed: int = 0,
        head_motion: bool = True,
        total_frames: int | None = None,
        level_from_voice: float = 0.0,
    ) -> Iterator[Coefficients]:
        """Coefficients in pieces of some frames.

        Args:
            mel_blocks: pieces ``(n, 80)`` of the log mel spectrogram of the kind :attr:`sound`, of any length; 4 rows a video frame.
            source: the portrait's coefficients, one frame.
            track: emotion over time.
            seed: draws head motion and blinks; same seed, same result.
            head_motion: False keeps the portrait's pose.
            total_frames: frames to make; by default as many as the sound has. Missing sound counts as silence.
            level_from_voice: levels by which a voice stronger or weaker than its own middle may move the track's, either way.

        Raises:
            MismatchError: the portrait's coefficients have another layout than the heads.
            UserError: a voice level asked of a talker that hears no mel.
        """
        run = AudioToMotionStream(self, source, track, seed, head_motion, level_from_voice)
        for block in mel_blocks:
            yield from run.push(block, total_frames)
            if total_frames is not None and run.done >= total_frames:
                return
        yield from run.finish(total_frames)


class AudioToMotionStream:
    """One recording on its way through a :class:`AudioToMotion`; the arguments are those of :meth:`AudioToMotion.generate`."""

    def __init__(
        self,
        talker: AudioToMotion,
        source: Coefficients,
        track: EmotionTrack,
        seed: int = 0,
        head_motion: bool = True,
        level_from_voice: float = 0.0,
    ) -> None:
        if level_from_voice > 0 and talker.ear.kind != "mel":
            raise UserError(
                "--level-from-voice",
                level_from_voice,
                "0 with weights that hear through Whisper",
                "reads the mel spectrogram",
            )
        talker.layout.check_same(source.layout, "the trained heads", "the portrait's coefficients")
        if talker.block < 1 or talker.block % STEP:
            raise ValueError(f"a block of {talker.block} frames is not a multiple of {STEP}")
        self._size = talker.block
        self._faces = _FaceStream(talker, source, track, seed, head_motion, level_from_voice)
        self._listener, self._quiet = talker.ear.listen(), talker.ear.quiet
        self._reach = talker.decoupler.reach + talker.heads.reach
        self._per_frame = talker.ear.front_end.per_frame
        self._heard = self._silence(self._reach.past)
        self._rows = 0

    @property
    def wanted(self) -> int:
        """Mel rows, counted from the sound's start, without which nothing more comes out."""
        return max(
            self._listener.wanted, ROWS_PER_FRAME * (self.done + self._size + self._reach.future)
        )

    @property
    def done(self) -> int:
        """Frames made so far."""
        return self._faces.done

    def push(self, mel: np.ndarray, total: int | None = None) -> Iterator[Coefficients]:
        """Take ``(n, 80)`` rows; the frames that they complete, :attr:`AudioToMotion.block` at a time, no more than ``total`` in all."""
        self._rows += len(mel)
        self._heard = np.concatenate(
            [self._heard, np.asarray(self._listener.push(mel), np.float32)]
        )
        while len(self._heard) >= self._whole and (total is None or self.done < total):
            yield self._block(self._size if total is None else min(self._size, total - self.done))

    def finish(self, total: int | None = None) -> Iterator[Coefficients]:
        """The rest, up to ``total`` frames or as many as there was sound for, with silence after the last row."""
        total = self._rows // ROWS_PER_FRAME if total is None else total
        self._heard = np.concatenate([self._heard, self._listener.finish()])
        while self.done < total:
            if len(self._heard) < self._whole:
                self._heard = np.concatenate(
                    [self._heard, self._silence(self._reach.total + self._size)]
                )
            yield self._block(min(self._size, total - self.done))

    @property
    def _whole(self) -> int:
        """Vectors of a block with its context."""
        return self._per_frame * (self._size + self._reach.total)

    def _block(self, frames: int) -> Coefficients:
        """Make the next frames from a block of sound with its context."""
        made = self._faces.push(torch.from_numpy(self._heard[: self._whole])[None], frames)
        self._heard = self._heard[self._per_frame * self._size :]
        return made

    def _silence(self, frames: int) -> np.ndarray:
        """Silence as the decoupler hears it."""
        return np.repeat(self._quiet[None], self._per_frame * frames, axis=0)


class _FaceStream:
    """Block after block of sound to coefficients."""

    def __init__(
        self,
        talker: AudioToMotion,
        source: Coefficients,
        track: EmotionTrack,
        seed: int,
        head_motion: bool,
        level_from_voice: float,
    ) -> None:
        self._talker, self._track, self._size = talker, track, talker.block
        self._source = source.joined()
        self._start = np.concatenate([source["angle"], source["trans"]], axis=1)
        self._blinks, self._urge = (
            BlinkProcess(seed, talker.heads.config.blinks_per_minute),
            BlinkRate(talker.layout.width("exp")),
        )
        self._lids = [i for i, name in enumerate(talker.layout.exp_names) if name in LIDS]
        emotions = torch.tensor([key.emotion for key in track.keys])
        levels = torch.tensor([key.level for key in track.keys])
        with torch.inference_mode():
            self._controls = talker.heads.matrix(emotions, levels)
            rest = talker.heads.matrix(torch.tensor(NEUTRAL), torch.tensor(1.0))
        self._felt, self._weights = emotions, np.zeros((0, len(emotions)), np.float32)
        self._voice = (
            VoiceLevel(levels, level_from_voice, talker.decoupler.reach + talker.heads.reach)
            if level_from_voice > 0
            else None
        )
        self._emotions = np.eye(len(EMOTIONS), dtype=np.float32)[emotions.numpy()]
        self._kept: Tensor | None = None
        self._poses = (
            PoseStream(talker.heads.posenet, seed, rest, talker.block) if head_motion else None
        )
        self.done = 0

    @torch.inference_mode()
    def push(self, mel: Tensor, frames: int) -> Coefficients:
        """The next ``frames``, at most a block."""
        heads, layout = self._talker.heads, self._talker.layout
        weights = self._shares()
        control = self._control(mel, torch.from_numpy(weights))
        out = heads(self._content(mel), torch.from_numpy(self._source), control[None])
        # All of the block, also of the last one, so that the end of the sound takes the same steps as its middle.
        moved = (
            np.zeros((self._size, POSE_SIZE), np.float32)
            if self._poses is None
            else self._poses.push(out.condition[0]).numpy()
        )
        values = np.repeat(self._source, self._size, axis=0)
        for block, tensor in (("id", out.id), ("exp", out.exp), ("tex", out.tex)):
            values[:, layout.slice(block)] = tensor[0].numpy()
        if layout.exp_names:
            exp = values[:, layout.slice("exp")].clip(0.0, EXP_CEILING)
            exp[:, self._lids] = self._blinks.push(
                weights @ self._emotions, self._urge.push(out.speech[0].numpy(), moved)
            )[:, None]
            values[:, layout.slice("exp")] = exp
        pose = self._start + moved
        values[:, layout.slice("angle")], values[:, layout.slice("trans")] = (
            pose[:, :3],
            pose[:, 3:],
        )
        self.done += frames
        return Coefficients.from_joined(layout, values[:frames])

    def _content(self, mel: Tensor) -> Tensor:
        """Content ``(1, block + heads.reach, n)`` of the block; rows that the next block needs again are kept, not made again."""
        decoupler, later = self._talker.decoupler, self._talker.heads.reach
        per_frame = decoupler.front_end.per_frame
        piece, step = per_frame * (self._size + decoupler.near.total), per_frame * self._size
        if self._kept is None:
            # The first block's past: pieces back to back before it, from silence.
            older = -(-(decoupler.reach.past - decoupler.near.past + later.total) // self._size)
            quiet = torch.from_numpy(self._talker.ear.quiet).expand(1, step, -1)
            sound = torch.cat([quiet, mel], dim=1)
            ends = [sound.shape[1] - step * n for n in range(older, 0, -1)]
            self._kept = torch.cat(
                [decoupler.unsettled(sound[:, end - piece : end]) for end in ends], dim=1
            )
        rows = torch.cat([self._kept, decoupler.unsettled(mel[:, -piece:])], dim=1)
        rows = rows[:, -(self._size + later.total + decoupler.reach.past - decoupler.near.past) :]
        self._kept = rows[:, self._size :]
        return decoupler.finished(rows)

    def _shares(self) -> np.ndarray:
        """How much each key of the track counts in the block's frames, ``(block, K)``; worked out for many blocks at once."""
        place = self.done % (AHEAD * self._size)
        if not place:
            self._weights = self._track.weights((self.done + np.arange(AHEAD * self._size)) / FPS)
        return self._weights[place : place + self._size]

    def _control(self, mel: Tensor, weights: Tensor) -> Tensor:
        """Control vectors ``(block, 24)`` of the track, at levels that follow the voice where that is wanted."""
        if self._voice is None:
            return weights @ self._controls
        levels = self._voice.push(mel[0].numpy())
        cells = self._talker.heads.matrix(self._felt.expand(len(levels), -1), levels)
        return (weights[..., None] * cells).sum(dim=1)


class BlinkRate:
    """How much likelier than usual a blink is: in a pause, and while the head turns."""

    def __init__(self, exp: int) -> None:
        self._said, self._angle, self._resting = (
            np.zeros(exp, np.float32),
            np.zeros(3, np.float32),
            0,
        )

    def push(self, said: np.ndarray, moved: np.ndarray) -> np.ndarray:
        """Factors ``(n,)`` from speech movements ``(n, E)`` and poses ``(n, 6)``."""
        change = np.abs(np.diff(said, axis=0, prepend=self._said[None])).mean(axis=1)
        turned = (
            np.linalg.norm(np.diff(moved[:, :3], axis=0, prepend=self._angle[None]), axis=1) * FPS
        )
        self._said, self._angle = said[-1], moved[-1, :3]
        urge = np.empty(len(said))
        for n, moves in enumerate(change):
            self._resting = 0 if moves > MOUTH_RESTS else self._resting + 1
            pause = PAUSE_FRAMES <= self._resting < PAUSE_FRAMES + PAUSE_LASTS
            urge[n] = PAUSE_URGE if pause else SPEECH_URGE if self._resting < PAUSE_FRAMES else 1.0
        return urge + np.minimum(TURN_URGE * (turned / TURN) ** 2, TURN_MOST)
