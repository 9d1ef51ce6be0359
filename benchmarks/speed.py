"""Speed: training steps of each stage, frames/s of each renderer, streaming and end-to-end video.

    python -m benchmarks speed [--size paper] [--device cuda] [--parts train]

Training steps take random batches of the stage's shapes, with every loss and the discriminator,
forward, backward and update. On a GPU each stage is also measured in bf16 and compiled. The rest
uses scikit-image's astronaut and the sample recording with the shipped weights.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks._shared import EXPERIMENTS, neutral_face, one_thread
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.layers.temporal import parameter_count
from emo_lightning.training.base import Noise, StageModule, TrainingContext, sizes_of
from emo_lightning.training.config import load_config
from emo_lightning.training.decoupler import DecouplerModule
from emo_lightning.training.motion import MotionModule
from emo_lightning.training.renderer import RendererModule

PARTS = ("train", "render", "stream", "video")
WARM, STEPS = 2, 8
VARIANTS = {"float32": (False, False), "bf16": (True, False), "bf16, compiled": (True, True)}
"""Ways to train on a GPU: bf16 autocast, torch.compile."""
RATE, STREAM_SECONDS = 16_000, 20.0
PIECES = (0.02, 0.1, 1.0)
"""Seconds of audio per call of the streaming API."""


def main(arguments: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", default="cpu", choices=("debug", "cpu", "paper"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="default: all")
    args = parser.parse_args(list(arguments))
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: its figures are unmeasured")
        return
    with one_thread() if device.type == "cpu" else nullcontext():
        if "train" in args.parts:
            training_table(args.size, device)
        if "render" in args.parts:
            renderer_table(device)
        if "stream" in args.parts:
            streaming_table()
        if "video" in args.parts:
            video_table()


def training_table(size: str, device: torch.device) -> None:
    """Print parameters, seconds a step, samples/s and memory of each stage."""
    print(f"\ntraining steps at size {size} on {device.type}, {STEPS} after {WARM} to warm up\n")
    print("| stage | precision | network, M | all, M | batch | s/step | samples/s | memory, MB |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for number in (1, 2, 3):
        words = [f"size={size}", "data=-", *(["decoupler=-"] if number == 2 else [])]
        config = load_config(EXPERIMENTS / f"stage{number}.yaml", words)
        for name, (half, compiled) in VARIANTS.items():
            if device.type == "cpu" and name != "float32":
                continue
            stage = build(config).to(device)
            for network in stage.compiled_networks() if compiled else ():
                network.compile()
            example = {key: value.to(device) for key, value in batch(config).items()}
            autocast = partial(torch.autocast, "cuda", torch.bfloat16) if half else nullcontext
            seconds, memory = time_step(stage, example, autocast)
            millions = [parameter_count(part) / 1e6 for part in (stage.network, stage)]
            rate, count = config.loader.batch_size / seconds, config.loader.batch_size
            cells = f"{millions[0]:.2f} | {millions[1]:.2f} | {count} | {seconds:.3f} | {rate:.1f}"
            print(f"| {number} | {name} | {cells} | {memory:.0f} |", flush=True)


def build(config: Any) -> StageModule:
    """The stage with fresh weights, a fresh decoupler before it."""
    context = TrainingContext(BUILTIN, config.seed)
    common = (config.model, config.loss, config.recipe, config.optim, context)
    if config.stage == 3:
        config.recipe.gan_start = 0
        return RendererModule(*common)
    if config.stage == 1:
        return DecouplerModule(*common)
    before: Any = load_config(EXPERIMENTS / "stage1.yaml", [f"size={config.size}", "data=-"])
    return MotionModule(*common, AudioDecoupler(sizes_of(DecouplerConfig, before.model)))


def batch(config: Any) -> dict[str, Any]:
    """A random batch of the stage's shapes."""
    draw = torch.Generator().manual_seed(0)
    b, t = config.loader.batch_size, config.loader.frames
    if config.stage == 3:
        s = config.model.image_size * config.model.output_scale
        images = {
            name: torch.rand(b, 3, s, s, generator=draw)
            for name in ("source_image", "driving_image")
        }
        return images | {
            name: 0.1 * torch.randn(b, 27, BUILTIN.size, generator=draw)
            for name in ("source_coeffs", "driving_coeffs")
        }
    blocks = {
        name: 0.1 * torch.randn(b, t, width, generator=draw) for name, width in BUILTIN.widths
    }
    labels = {
        "emotion": torch.arange(b) % 8,
        "level": torch.full((b,), 8.0),
        "intensity": torch.full((b,), 2),
    }
    sound = {
        "mel": torch.randn(b, 4 * t, 80, generator=draw) - 6.0,
        "au": torch.rand(b, t, 17, generator=draw),
    }
    source = 0.1 * torch.randn(b, BUILTIN.size, generator=draw)
    frames = {
        "mask": torch.ones(b, t, dtype=torch.bool),
        "phone": torch.ones(b, t, dtype=torch.int64),
    }
    return blocks | labels | sound | frames | {"source": source}


def time_step(
    stage: StageModule,
    example: dict[str, Any],
    autocast: Callable[[], AbstractContextManager[object]],
) -> tuple[float, float]:
    """Mean seconds of a training step after a warm-up, and peak memory in MB."""
    optimizer, noise = torch.optim.AdamW(stage.parameters(), lr=1e-5), Noise(stage.device, 0)
    cuda, start = stage.device.type == "cuda", 0.0
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    for step in range(WARM + STEPS):
        if step == WARM:
            _synchronize(cuda)
            start = time.perf_counter()
        optimizer.zero_grad()
        with autocast():
            objective = stage.objective(stage.losses(example, noise)[0])
        objective.backward()
        optimizer.step()
    _synchronize(cuda)
    seconds = (time.perf_counter() - start) / STEPS
    peak = torch.cuda.max_memory_allocated() / 2**20 if cuda else resident()
    return seconds, peak


def renderer_table(device: torch.device) -> None:
    """Print frames/s of every renderer on one portrait, preparation apart."""
    from emo_lightning.commands.demo import sample_speech, write_astronaut
    from emo_lightning.inference.speaker import Speaker, SpeechOptions
    from emo_lightning.renderers import registry

    print(f"\nrendering on {device.type}, the sample recording, encoding not included\n")
    print("| renderer | pixels | prepare, ms | frames/s |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        portrait, audio = write_astronaut(Path(folder)), sample_speech()
        for name in registry.names():
            speaker = Speaker.load(device=device.type, renderer=name, audio_encoder="mel")
            warm = SpeechOptions(view="crop", size=128)  # compiles kernels
            next(iter(speaker.speak(portrait, audio, options=warm).frames))
            for size in (256, 512):
                options = SpeechOptions(view="crop", size=size)
                start = time.perf_counter()
                prepared = speaker.prepare(portrait, "crop", size)
                ready = time.perf_counter() - start
                speech = speaker.speak(prepared, audio, "happy", 8, options=options)
                start = time.perf_counter()
                count = sum(1 for _ in speech.frames)
                rate = count / (time.perf_counter() - start)
                print(f"| {name} | {size} | {1e3 * ready:.0f} | {rate:.1f} |", flush=True)


def streaming_table() -> None:
    """Print speed and measured delay of coefficients while audio arrives in pieces."""
    from emo_lightning.inference.streaming import TalkingStream
    from emo_lightning.inference.weights import load_audio_to_motion
    from emo_lightning.motion.emotion_track import EmotionTrack

    networks, track = load_audio_to_motion(), EmotionTrack.constant("happy", 8)
    wave = np.concatenate(list(syllables(STREAM_SECONDS)))
    print(f"\nstreaming, latency {networks.latency:.2f} s at most\n")
    print("| audio per call, s | delay, s | times real time |\n|---:|---:|---:|")
    for seconds in PIECES:
        stream, delay = TalkingStream(networks, neutral_face(), track, gain=1.0), 0.0
        start, piece = time.process_time(), round(seconds * RATE)
        for at in range(0, len(wave), piece):
            before = stream.frames_done
            stream.add(wave[at : at + piece])
            if stream.frames_done > before:
                arrived = min(at / RATE + seconds, STREAM_SECONDS)
                delay = max(delay, arrived - (before + 1) / 25.0)
        stream.flush()
        speed = STREAM_SECONDS / (time.process_time() - start)
        print(f"| {seconds:g} | {delay:.2f} | {speed:.0f} |", flush=True)


def video_table() -> None:
    """Print the parts of ``emo generate`` end to end at several views and sizes."""
    from emo_lightning.commands.demo import sample_speech, write_astronaut
    from emo_lightning.inference.speaker import Speaker, SpeechOptions

    print("\nvideo end to end with encoding, the sample recording, mesh renderer\n")
    print("| view | pixels | frames | seconds | frames/s | peak memory, MB |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        portrait, audio = write_astronaut(Path(folder)), sample_speech()
        for view, size in (("crop", 256), ("crop", 512), ("full", 512)):
            start = time.perf_counter()
            speaker = Speaker.load(audio_encoder="mel")
            options = SpeechOptions(view=view, size=size)
            speech = speaker.speak(portrait, audio, "happy", 8, options=options)
            speech.save(Path(folder) / f"{view}{size}.mp4")
            seconds = time.perf_counter() - start
            rate = len(speech) / seconds
            cells = f"{len(speech)} | {seconds:.1f} | {rate:.1f} | {resident():.0f}"
            print(f"| {view} | {size} | {cells} |", flush=True)


def syllables(seconds: float) -> Iterator[np.ndarray]:
    """Noise in the rhythm of syllables and pauses, float32 at 16 kHz, one second at a time."""
    rng, total = np.random.default_rng(0), round(seconds * RATE)
    for at in range(0, total, RATE):
        n = min(RATE, total - at)
        t = (at + np.arange(n)) / RATE
        loud = np.maximum(np.sin(2 * np.pi * 2.1 * t), 0.0) * (np.sin(2 * np.pi * 0.13 * t) > -0.6)
        yield (0.1 * loud * rng.standard_normal(n)).astype(np.float32)


def resident() -> float:
    """Peak memory of the process, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _synchronize(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
