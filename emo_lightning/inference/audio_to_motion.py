"""Audio to coefficients: decoupler and motion model joined for inference, streaming in and out.

Audio is processed in blocks of fixed length and place, each with the receptive field of the
networks, so the result is bit for bit independent of how the audio arrives, and memory does not
grow with its length. A frame waits for the rest of its block, so blocks are small; see
:attr:`AudioToMotion.latency`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from emo_lightning.core.constants import FPS
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients, Layout
from emo_lightning.inference.motion_controls import DEFAULT_CONTROLS, MotionControls
from emo_lightning.inference.voice_gate import FUTURE, VoiceGate
from emo_lightning.inference.voice_intensity import VoiceLevel
from emo_lightning.models.decoupler.audio_frontend import (
    ROWS_PER_FRAME,
    AudioFrontend,
    MelFrontend,
)
from emo_lightning.models.decoupler.decoupler import AudioDecoupler
from emo_lightning.models.layers.temporal import store_taps_first, trim
from emo_lightning.models.motion.motion_model import EXP_CEILING, MotionModel
from emo_lightning.models.motion.posenet import POSE_SIZE, STEP, PoseStream
from emo_lightning.motion.blinking import BlinkProcess
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS, NEUTRAL

BLOCK = 8
"""Video frames processed at a time by default."""
TRACK_BLOCKS = 64
"""Blocks for which the emotion track is evaluated at a time."""
SPECTRUM_SECONDS = 0.02
"""Delay of a mel row: half of its window after its video frame's end."""
LIDS = ("AU45_L", "AU45_R")
STILL_MOUTH = 0.003
"""Mean change of the expression per frame below which nobody speaks."""
PAUSE_FRAMES, PAUSE_LASTS = 5, 20
"""Still frames that make a pause, and frames for which it then raises the blink rate."""
PAUSE_FACTOR, SPEECH_FACTOR = 2.0, 0.75
"""Factors on the blink rate in a pause and in speech."""
TURN, TURN_FACTOR, MOST_TURN_FACTOR = 0.3, 0.15, 1.0
"""A head turn of TURN radians/s adds TURN_FACTOR to the blink rate's factor, quadratically."""


class AudioToMotion:
    """Audio, portrait coefficients and an emotion track to coefficients per frame.

    Args:
        decoupler, motion_model: networks that were trained for each other, on one device.
        frontend: audio front end of the decoupler; log-mel by default.

    Attributes:
        voice_gate: rest the mouth in steady noise and tones, see
            :mod:`emo_lightning.inference.voice_gate`.
        block: video frames processed at a time, a multiple of 4. With 4, a frame waits half as long
            and takes 1.5 times the computation. Results of different block lengths differ by
            rounding; with one block length they are identical.

    Raises:
        ValueError: another front end than the decoupler was trained with.
    """

    def __init__(
        self,
        decoupler: AudioDecoupler,
        motion_model: MotionModel,
        frontend: AudioFrontend | None = None,
    ) -> None:
        self.decoupler, self.motion_model = decoupler.eval(), motion_model.eval()
        self.frontend = frontend or MelFrontend()
        expected = decoupler.config.front_end
        if self.frontend.kind != expected:
            raise ValueError(f"the decoupler needs {expected} features, not {self.frontend.kind}")
        self.block, self.voice_gate = BLOCK, True
        for network in (decoupler, motion_model):
            store_taps_first(network)

    @property
    def mel_kind(self) -> str:
        """Kind of spectrogram rows (:data:`emo_lightning.media.spectrogram.MEL_KINDS`) to give."""
        return self.frontend.kind

    @property
    def layout(self) -> Layout:
        """Layout of the coefficients."""
        return self.motion_model.layout

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.motion_model.parting.device

    @property
    def latencies(self) -> dict[str, float]:
        """Seconds of audio after a frame that each part needs, at most."""
        return {
            "spectrum": SPECTRUM_SECONDS,
            "Whisper": self.frontend.lookahead / FPS,
            "decoupler": self.decoupler.reach.future / FPS,
            "ExpNet, EmoNet": self.motion_model.reach.future / FPS,
            "PoseNet": self.motion_model.posenet.reach.future / FPS,
            "rest of the block": (self.block - 1) / FPS,
        }

    @property
    def latency(self) -> float:
        """Seconds of audio after a frame that must have arrived before its output, at most."""
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
        controls: MotionControls = DEFAULT_CONTROLS,
    ) -> Iterator[Coefficients]:
        """Yield coefficients, some frames at a time.

        Args:
            mel_blocks: rows ``(n, 80)`` of the kind :attr:`mel_kind` in blocks of any length; 4 per
                video frame.
            source: coefficients of the portrait, one frame.
            track: emotion over time.
            seed: of head motion and blinks.
            head_motion: False keeps the portrait's pose.
            total_frames: number of frames, by default that of the audio; missing audio is silence.
            level_from_voice: most levels by which the strength of the voice may change the track's.
            controls: of which ``mouth`` and ``blinks`` are applied here.

        Raises:
            MismatchError: the portrait's coefficients have another layout than the motion model.
            UserError: ``level_from_voice`` with another front end than log-mel.
        """
        run = AudioToMotionStream(
            self, source, track, seed, head_motion, level_from_voice, controls
        )
        for block in mel_blocks:
            yield from run.add(block, total_frames)
            if total_frames is not None and run.frames_done >= total_frames:
                return
        yield from run.flush(total_frames)


class AudioToMotionStream:
    """One recording through an :class:`AudioToMotion`; for arguments and errors see
    :meth:`AudioToMotion.generate`."""

    def __init__(
        self,
        networks: AudioToMotion,
        source: Coefficients,
        track: EmotionTrack,
        seed: int = 0,
        head_motion: bool = True,
        level_from_voice: float = 0.0,
        controls: MotionControls = DEFAULT_CONTROLS,
    ) -> None:
        if level_from_voice > 0 and networks.frontend.kind != "mel":
            problem = "needs weights with the log-mel front end"
            raise UserError("--level-from-voice", level_from_voice, "0 with Whisper", problem)
        mine = "the trained motion model"
        networks.layout.check_same(source.layout, mine, "the portrait's coefficients")
        if networks.block < 1 or networks.block % STEP:
            raise ValueError(f"a block of {networks.block} frames is not a multiple of {STEP}")
        self._block = networks.block
        self._generator = _BlockGenerator(
            networks, source, track, seed, head_motion, level_from_voice, controls
        )
        frontend = networks.frontend
        self._frontend, self._silence = frontend.open_stream(), frontend.silence
        self._per_frame = frontend.front_end.per_frame
        self._reach = networks.decoupler.reach + networks.motion_model.reach
        self._features = self._silent_features(self._reach.past)
        self._rows = 0
        # One gate per frame of content; before the audio nobody speaks.
        past, future = networks.motion_model.reach.past, networks.motion_model.reach.future
        self._gate = VoiceGate(networks.mel_kind) if networks.voice_gate else None
        self._gates = np.zeros(past, np.float32)
        self._content_frames, self._content_future = self._block + past + future, future

    @property
    def rows_needed(self) -> int:
        """Mel rows needed, from the start of the audio, before the next output."""
        future = max(self._reach.future, self._content_future + FUTURE if self._gate else 0)
        frames = self.frames_done + self._block + future
        return max(self._frontend.rows_needed, ROWS_PER_FRAME * frames)

    @property
    def frames_done(self) -> int:
        """Frames generated so far."""
        return self._generator.frames_done

    @property
    def _needed(self) -> int:
        """Feature vectors of a block with its receptive field."""
        return self._per_frame * (self._block + self._reach.total)

    def add(self, mel: np.ndarray, total: int | None = None) -> Iterator[Coefficients]:
        """Add ``(n, 80)`` rows and yield the blocks of frames they complete, up to ``total``
        frames."""
        self._rows += len(mel)
        features = np.asarray(self._frontend.add(mel), np.float32)
        self._features = np.concatenate([self._features, features])
        if self._gate is not None:
            self._gates = np.concatenate([self._gates, self._gate.add(mel)])
        while self._ready() and (total is None or self.frames_done < total):
            yield self._next_block(total)

    def flush(self, total: int | None = None) -> Iterator[Coefficients]:
        """Yield the remaining frames, up to ``total`` or the audio's number, then silence
        follows."""
        total = self._rows // ROWS_PER_FRAME if total is None else total
        self._features = np.concatenate([self._features, self._frontend.flush()])
        if self._gate is not None:
            self._gates = np.concatenate([self._gates, self._gate.flush()])
        while self.frames_done < total:
            if len(self._features) < self._needed:
                silence = self._silent_features(self._reach.total + self._block)
                self._features = np.concatenate([self._features, silence])
            if len(self._gates) < self._content_frames:
                self._gates = np.pad(self._gates, (0, self._content_frames))
            yield self._next_block(total)

    def _ready(self) -> bool:
        gated = self._gate is None or len(self._gates) >= self._content_frames
        return gated and len(self._features) >= self._needed

    def _next_block(self, total: int | None) -> Coefficients:
        frames = self._block if total is None else min(self._block, total - self.frames_done)
        gates = None if self._gate is None else self._gates[: self._content_frames]
        block = self._generator.generate(self._features[: self._needed], gates, frames)
        self._features = self._features[self._per_frame * self._block :]
        self._gates = self._gates[self._block :]
        return block

    def _silent_features(self, frames: int) -> np.ndarray:
        return np.repeat(self._silence[None], self._per_frame * frames, axis=0)


class _BlockGenerator:
    """Coefficients of one block of audio features after another."""

    def __init__(
        self,
        networks: AudioToMotion,
        source: Coefficients,
        track: EmotionTrack,
        seed: int,
        head_motion: bool,
        level_from_voice: float,
        controls: MotionControls,
    ) -> None:
        self._networks, self._track, self._block = networks, track, networks.block
        model, self._device = networks.motion_model, networks.device
        self._source = source.joined()
        self._source_tensor = torch.from_numpy(self._source).to(self._device)
        self._start = np.concatenate([source["angle"], source["trans"]], axis=1)
        self._blinks = BlinkProcess(seed, controls.blinks * model.config.blinks_per_minute)
        self._mouth = controls.mouth
        self._blink_rate = BlinkRateFactor(model.layout.width("exp"))
        self._lids = [i for i, name in enumerate(model.layout.exp_names) if name in LIDS]
        self._emotions = torch.tensor([key.emotion for key in track.keys], device=self._device)
        levels = torch.tensor([key.level for key in track.keys])
        with torch.inference_mode():
            self._controls = model.matrix(self._emotions, levels.to(self._device))
            rest = model.matrix(self._emotions.new_tensor(NEUTRAL), self._controls.new_tensor(1.0))
        self._one_hot = np.eye(len(EMOTIONS), dtype=np.float32)[self._emotions.cpu().numpy()]
        self._weights = np.zeros((0, len(levels)), np.float32)
        self._voice: VoiceLevel | None = None
        if level_from_voice > 0:
            reach = networks.decoupler.reach + model.reach
            self._voice = VoiceLevel(levels, level_from_voice, reach)
        self._kept: Tensor | None = None
        self._silence = torch.from_numpy(networks.frontend.silence).to(self._device)
        frames = networks.decoupler.reach.total + 1
        rows = networks.decoupler.front_end.per_frame * frames
        with torch.inference_mode():
            self._silent_content = networks.decoupler.content(self._silence.expand(1, rows, -1))
        self._poses = PoseStream(model.posenet, seed, rest, self._block) if head_motion else None
        self.frames_done = 0

    @torch.inference_mode()
    def generate(self, features: np.ndarray, gates: np.ndarray | None, frames: int) -> Coefficients:
        """The next ``frames``, at most a block.

        Args:
            features: of the block with its receptive field.
            gates: ``(block + reach,)`` of the block's content, None for open ones.
            frames: number of frames.
        """
        model, layout = self._networks.motion_model, self._networks.layout
        weights = self._track_weights()
        control = self._control(features, torch.from_numpy(weights).to(self._device))
        inputs = torch.from_numpy(features)[None].to(self._device)
        content, voice = self._content(inputs), None
        if gates is not None and gates.min() < 1.0:
            gate = torch.from_numpy(gates).to(self._device)[None, :, None]
            mixed = torch.lerp(self._silent_content.expand_as(content), content, gate)
            content = torch.where(gate < 1.0, mixed, content)
            voice = trim(gate, model.reach)
        out = model(content, self._source_tensor, control[None], voice)
        exp = out.exp
        if self._mouth != 1.0:
            exp = model.compose(self._mouth * out.speech, out.emotion, out.closure)
        # A whole block also at the end, so that the last frames take the same computation.
        motion = np.zeros((self._block, POSE_SIZE), np.float32)
        if self._poses is not None:
            motion = self._poses.add(out.condition[0]).cpu().numpy()
        values = np.repeat(self._source, self._block, axis=0)
        for block, tensor in (("id", out.id), ("exp", exp), ("tex", out.tex)):
            values[:, layout.slice(block)] = tensor[0].cpu().numpy()
        if layout.exp_names:
            exp = values[:, layout.slice("exp")].clip(0.0, EXP_CEILING)
            rate = self._blink_rate.factors(out.speech[0].cpu().numpy(), motion)
            exp[:, self._lids] = self._blinks.closures(weights @ self._one_hot, rate)[:, None]
            values[:, layout.slice("exp")] = exp
        pose = self._start + motion
        values[:, layout.slice("angle")] = pose[:, :3]
        values[:, layout.slice("trans")] = pose[:, 3:]
        self.frames_done += frames
        return Coefficients.from_joined(layout, values[:frames])

    def _content(self, features: Tensor) -> Tensor:
        """Content ``(1, block + reach, n)``; rows that the next block needs again are kept."""
        decoupler, later = self._networks.decoupler, self._networks.motion_model.reach
        local, per_frame = decoupler.local_reach, decoupler.front_end.per_frame
        piece, step = per_frame * (self._block + local.total), per_frame * self._block
        norm_past = decoupler.reach.past - local.past
        if self._kept is None:
            # Past of the first block: consecutive pieces before it, from silence.
            count = -(-(norm_past + later.total) // self._block)
            padded = torch.cat([self._silence.expand(1, step, -1), features], dim=1)
            ends = [padded.shape[1] - step * n for n in range(count, 0, -1)]
            pieces = [decoupler.local_content(padded[:, end - piece : end]) for end in ends]
            self._kept = torch.cat(pieces, dim=1)
        rows = torch.cat([self._kept, decoupler.local_content(features[:, -piece:])], dim=1)
        rows = rows[:, -(self._block + later.total + norm_past) :]
        self._kept = rows[:, self._block :]
        return decoupler.disentangle(decoupler.normalize(rows))

    def _track_weights(self) -> np.ndarray:
        """Weights ``(block, K)`` of the track's keys, evaluated for many blocks at once."""
        count = TRACK_BLOCKS * self._block
        place = self.frames_done % count
        if not place:
            self._weights = self._track.weights((self.frames_done + np.arange(count)) / FPS)
        return self._weights[place : place + self._block]

    def _control(self, features: np.ndarray, weights: Tensor) -> Tensor:
        """Control vectors ``(block, 24)``, with levels from the voice where that is enabled."""
        if self._voice is None:
            return weights @ self._controls
        levels = self._voice.levels(features).to(self._device)
        emotions = self._emotions.expand(len(levels), -1)
        controls = self._networks.motion_model.matrix(emotions, levels)
        return (weights[..., None] * controls).sum(dim=1)


class BlinkRateFactor:
    """Factor on the blink rate: higher in a pause and while the head turns."""

    def __init__(self, exp: int) -> None:
        self._speech, self._angle = np.zeros(exp, np.float32), np.zeros(3, np.float32)
        self._still_frames = 0

    def factors(self, speech: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Factors ``(n,)`` of the next frames from speech ``(n, E)`` and head motion ``(n, 6)``."""
        change = np.abs(np.diff(speech, axis=0, prepend=self._speech[None])).mean(axis=1)
        turns = np.diff(motion[:, :3], axis=0, prepend=self._angle[None])
        turned = np.linalg.norm(turns, axis=1) * FPS
        self._speech, self._angle = speech[-1], motion[-1, :3]
        factors = np.empty(len(speech))
        for n, amount in enumerate(change):
            self._still_frames = 0 if amount > STILL_MOUTH else self._still_frames + 1
            if self._still_frames < PAUSE_FRAMES:
                factors[n] = SPEECH_FACTOR
            else:
                pause = self._still_frames < PAUSE_FRAMES + PAUSE_LASTS
                factors[n] = PAUSE_FACTOR if pause else 1.0
        return factors + np.minimum(TURN_FACTOR * (turned / TURN) ** 2, MOST_TURN_FACTOR)
