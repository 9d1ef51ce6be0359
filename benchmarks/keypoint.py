"""Frames a second of the learned renderer, by how many frames it draws at once; fresh weights, portraits of 256 pixels.

python -m benchmarks keypoint [debug|cpu|paper]
"""

from __future__ import annotations

import time
from dataclasses import fields

import torch

from benchmarks.training import EXPERIMENTS
from emo_lightning.coefficients import BUILTIN
from emo_lightning.config import Stage3Run, load_config
from emo_lightning.models.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.models.mapping import WINDOW, still_window

OUTPUT, FRAMES, ROUNDS = 256, 16, 3
BATCHES = (1, 2, 4, 8, 16)


def main(arguments: list[str]) -> None:
    """Print the table for a size, ``cpu`` by default."""
    config = load_config(EXPERIMENTS / "stage3.yaml", [f"size={arguments[0] if arguments else 'cpu'}", "data=-"])
    assert isinstance(config, Stage3Run)
    network = FaceRenderer(RendererConfig(**{f.name: getattr(config.model, f.name) for f in fields(RendererConfig)}), BUILTIN).eval()
    print(f"size {config.size}, best of {ROUNDS} rounds in turn, {FRAMES} frames each\n")
    print("| threads | " + " | ".join(f"{n} at once" for n in BATCHES) + " | each with the portrait encoded anew |")
    print("|---|" + "---|" * (len(BATCHES) + 1))
    threads = torch.get_num_threads()
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        print(f"| {count} | " + " | ".join(f"{rate:.1f}" for rate in rates(network)) + " |", flush=True)
    torch.set_num_threads(threads)


@torch.no_grad()
def rates(network: FaceRenderer) -> list[float]:
    """Frames a second of each batch size, then with one frame at a time and :meth:`FaceRenderer.prepare` before each."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, OUTPUT, OUTPUT, generator=draw)
    windows = 0.1 * torch.randn(FRAMES, WINDOW, BUILTIN.size, generator=draw)
    still = still_window(windows[:1, WINDOW // 2])
    source = network.prepare(image, still)
    best = [float("inf")] * (len(BATCHES) + 1)
    for _ in range(ROUNDS):  # in turn, so that whatever else the machine does falls on all alike
        for place, size in enumerate((*BATCHES, 1)):
            start = time.perf_counter()
            for piece in windows.split(size):
                network.render(network.prepare(image, still) if place == len(BATCHES) else source, piece)
            best[place] = min(best[place], time.perf_counter() - start)
    return [FRAMES / seconds for seconds in best]
