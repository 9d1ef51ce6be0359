"""The learned renderer's speed, and the curves of its training.

python -m benchmarks keypoint [debug|cpu|paper] [--device cpu|cuda]
python -m benchmarks keypoint --curves RUN [--out PNG]

On a GPU: step time, memory and frames/s, plain and with bf16, channels_last and compile. On a CPU: frames/s of fresh weights on
portraits of 256 pixels by how many are drawn at once, and a training step where it is affordable.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._curves import draw_curves
from benchmarks.training import EXPERIMENTS, batch, build
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.losses.gan import discriminator_hinge
from emo_lightning.models.renderer.face_renderer import FaceRenderer
from emo_lightning.models.renderer.mapping_net import WINDOW, still_window
from emo_lightning.training.base import weighted_sum
from emo_lightning.training.config import Stage3Run, load_config
from emo_lightning.training.renderer import RendererModule

OUTPUT, ROUNDS = 256, 3
BATCHES = (1, 2, 4, 8)
WAYS = (
    ("plain", False, False, False),
    ("bf16", True, False, False),
    ("bf16, channels_last", True, True, False),
    ("bf16, channels_last, compile", True, True, True),
)
"""To run on a GPU: name, bf16, channels_last, compile."""
FRAMES = {"paper": 1}
"""Frames that a CPU draws in a round, 8 at other sizes."""
STEP_BATCH = {"paper": 1}
"""Samples of a CPU's training step, where the size's own batch does not fit into minutes."""


def main(arguments: list[str]) -> None:
    """Print the tables for a size, ``cpu`` by default, or draw a run's curves."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks keypoint",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("size", nargs="?", default="cpu")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--curves", type=Path, metavar="RUN", help="a run's folder, whose metrics.csv is drawn"
    )
    parser.add_argument("--out", type=Path, metavar="PNG", help="where to (RUN/curves.png)")
    args = parser.parse_args(arguments)
    if args.curves:
        out = args.out or args.curves / "curves.png"
        print(f"{', '.join(draw_curves(args.curves, out))} in {out}")
        return
    config = load_config(EXPERIMENTS / "stage3.yaml", [f"size={args.size}", "data=-"])
    assert isinstance(config, Stage3Run)
    if args.device == "cuda" and torch.cuda.is_available():
        on_gpu(config)
        return
    if args.device == "cuda":
        print(
            "There is no CUDA device here: its figures are unmeasured. What this CPU affords instead:\n"
        )
    on_cpu(config)


def fresh(config: Stage3Run, channels_last: bool = False, compiled: bool = False) -> RendererModule:
    """The stage with fresh weights."""
    torch.manual_seed(0)
    stage = build(config)
    assert isinstance(stage, RendererModule)
    stage._generator = torch.Generator().manual_seed(0)
    stage.hasten(channels_last, compiled)
    return stage


def on_gpu(config: Stage3Run) -> None:
    """Step time, memory and frames/s of each way to run the size; the plain one first."""
    print(f"{torch.cuda.get_device_name()}, size {config.size}, batch {config.loader.batch_size}, both networks' updates, "
          f"perceptual loss: pyramid\n")  # fmt: skip
    print(
        "| way | s/step | peak memory, GB | frames/s, 1 at once | frames/s, 16 at once |\n|---|---|---|---|---|"
    )
    for name, half, last, compiled in WAYS:
        stage = fresh(config, last, compiled).cuda()
        example = {key: value.cuda() for key, value in batch(config).items()}
        context = partial(torch.autocast, "cuda", torch.bfloat16) if half else nullcontext
        torch.cuda.reset_peak_memory_stats()
        seconds = steps(stage, example, context, torch.cuda.synchronize)
        memory = torch.cuda.max_memory_allocated() / 1e9
        rate = partial(
            frames_per_second,
            stage.renderer.eval(),
            context=context,
            wait=torch.cuda.synchronize,
            frames=32,
        )
        print(
            f"| {name} | {seconds:.3f} | {memory:.1f} | {rate(size=1):.0f} | {rate(size=16):.0f} |",
            flush=True,
        )
        del stage
        torch.cuda.empty_cache()


def on_cpu(config: Stage3Run) -> None:
    """Frames/s by threads, layout and batch, then the training step."""
    frames = FRAMES.get(config.size, 8)
    sizes = [n for n in BATCHES if n <= frames]
    heads = " | ".join(f"{n} at once" for n in sizes)
    print(f"size {config.size}, frames/s, best of {ROUNDS} rounds in turn, {frames} frames each\n")
    print(f"| threads | layout | {heads} | one at once, the portrait encoded anew each time |")
    print("|---|---|" + "---|" * (len(sizes) + 1))
    before = torch.get_num_threads()
    networks = {
        name: fresh(config, last).renderer.eval()
        for name, last in (("plain", False), ("channels_last", True))
    }
    for threads in (1, 2):
        torch.set_num_threads(threads)
        jobs = [(name, size, False) for name in networks for size in sizes] + [
            (name, 1, True) for name in networks
        ]
        best = dict.fromkeys(jobs, 0.0)
        for _ in range(
            ROUNDS if frames > 1 else 1
        ):  # in turn, so that whatever else the machine does falls on all alike
            for job in jobs:
                name, size, anew = job
                best[job] = max(
                    best[job],
                    frames_per_second(networks[name], size=size, anew=anew, frames=frames),
                )
        for name in networks:
            cells = [best[name, size, False] for size in sizes] + [best[name, 1, True]]
            print(
                f"| {threads} | {name} | " + " | ".join(f"{rate:.2f}" for rate in cells) + " |",
                flush=True,
            )
    torch.set_num_threads(1)
    del networks
    config.loader.batch_size = STEP_BATCH.get(config.size, config.loader.batch_size)
    seconds = steps(
        fresh(config),
        batch(config),
        nullcontext,
        lambda: None,
        0 if config.size in STEP_BATCH else 1,
        1,
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    torch.set_num_threads(before)
    print(
        f"\na training step of batch {config.loader.batch_size} on one thread: {seconds:.2f} s, process memory {memory:.1f} GB"
    )


def steps(
    stage: RendererModule,
    example: dict[str, Tensor],
    context: Callable[[], AbstractContextManager[object]],
    wait: Callable[[], None],
    warm: int = 3,
    count: int = 10,
) -> float:
    """Seconds of a step of both networks, the mean after a warm-up."""
    both = [
        torch.optim.AdamW(net.parameters(), lr=1e-5)
        for net in (stage.renderer, stage.discriminator)
    ]
    start = time.perf_counter()
    for step in range(warm + count):
        if step == warm:
            wait()
            start = time.perf_counter()
        with context():
            source, made = stage.render(example)
            total = weighted_sum(
                stage.parts(example, source, made, adversarial=True), stage.weights
            )
        update(both[0], total)
        with context():
            seen = [
                stage.discriminator(stage.views(image, made)[-1])
                for image in (example["driving_image"], made.image.detach())
            ]
            verdict = discriminator_hinge(*seen)
        update(both[1], verdict)
    wait()
    return (time.perf_counter() - start) / count


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Backward and step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def frames_per_second(
    network: FaceRenderer,
    size: int,
    frames: int,
    anew: bool = False,
    context: Callable[[], AbstractContextManager[object]] = nullcontext,
    wait: Callable[[], None] = lambda: None,
) -> float:
    """Rate of drawing ``size`` frames at once, the portrait encoded once or ``anew`` before each."""
    device = next(network.parameters()).device
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, OUTPUT, OUTPUT, generator=draw).to(device)
    windows = 0.1 * torch.randn(frames, WINDOW, BUILTIN.size, generator=draw).to(device)
    still = still_window(windows[:1, WINDOW // 2])
    with context():
        source = network.prepare(image, still)
        for piece in windows[: 2 * size].split(size) if device.type != "cpu" else ():
            network.render(source, piece)
        wait()
        start = time.perf_counter()
        for piece in windows.split(size):
            network.render(network.prepare(image, still) if anew else source, piece)
        wait()
    return frames / (time.perf_counter() - start)
