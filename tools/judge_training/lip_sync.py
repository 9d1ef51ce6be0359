"""Train the lip-sync judge.

  emo preprocess --source grid --root GRID --out data/grid
  emo corpus --out data/speech --clips 960 --no-video
  python -m tools.judge_training.lip_sync --data data/grid data/speech --out lip_sync.safetensors
 Two losses. Each window of lips must find its own window of sound among all others of the batch,
and the other way round (InfoNCE; windows one frame away count neither way). And each clip's curve,
the mean distance at shifts of up to 15 frames, must have its minimum at 0, below every other clip's
sound as well, and below the same mouth held still: that is what the judge is asked later.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from emo_lightning.core.provenance import sha256_of
from evaluation.judges.lip_sync import NAME, WINDOW, LipSyncNet
from evaluation.metrics.lip_sync import REACH
from tools.judge_training.lip_sync_clips import FRAMES, Clip, draw_batch, hold, read_clips

FAR = 1e4
"""A distance that never wins."""
BATCH, RATE, DECAY, WARM = 24, 1e-3, 0.02, 100
SAVE_EVERY, PRINT_EVERY = 200, 50


class Agreement(nn.Module):
    """The loss, with its two temperatures."""

    def __init__(self) -> None:
        super().__init__()
        self.window_scale, self.clip_scale = (
            nn.Parameter(torch.tensor(2.5)),
            nn.Parameter(torch.tensor(3.5)),
        )

    def forward(self, lips: Tensor, voice: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings ``(B, N, D)``, and ``(H, N, D)`` of the first H clips held still -> the
        windows' loss, the clips' loss.
        """
        batch, count = lips.shape[:2]
        table = torch.cdist(lips.flatten(0, 1), voice.flatten(0, 1)).view(
            batch, count, batch, count
        )
        still = torch.linalg.vector_norm(held - voice[: len(held)], dim=-1).mean(dim=1)
        return self._windows(table), self._clips(table, still)

    def _windows(self, table: Tensor) -> Tensor:
        batch, count = table.shape[:2]
        clip, window = torch.arange(batch), torch.arange(count)
        neighbours = torch.zeros(table.shape, dtype=torch.bool, device=table.device)
        neighbours[clip, :, clip, :] = (window[:, None] - window[None]).abs() == 1
        logits = (
            (-self.window_scale.exp() * table)
            .masked_fill(neighbours, -FAR)
            .view(batch * count, batch * count)
        )
        own = torch.arange(batch * count, device=table.device)
        return (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2

    def _clips(self, table: Tensor, still: Tensor) -> Tensor:
        batch, count = table.shape[:2]
        clip, window = torch.arange(batch), torch.arange(count)
        own = table[clip, :, clip, :]
        curve = torch.stack(
            [own.diagonal(shift, 1, 2).mean(dim=-1) for shift in range(-REACH, REACH + 1)], dim=-1
        )
        others = table[:, window, :, window].mean(dim=0) + FAR * torch.eye(
            batch, device=table.device
        )
        logits = -self.clip_scale.exp() * torch.cat(
            [curve, others, pad(still, (0, batch - len(still)), value=FAR)[:, None]], dim=1
        )
        return cross_entropy(logits, torch.full((batch,), REACH, device=table.device))


def train(
    sets: Sequence[Sequence[Clip]],
    steps: int,
    seed: int,
    out: Path,
    record: dict[str, Any],
    batch: int = BATCH,
) -> LipSyncNet:
    """Train from fresh weights on shard sets drawn from equally often; writes ``out`` every 200
    steps and at the end.

    Args:
        sets: clips by shard set.
        steps: updates.
        seed: same seed, same weights (on one kind of machine with one thread).
        out: the safetensors file.
        record: what is written into it beside the weights.
        batch: clips an update.
    """
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net, loss = LipSyncNet().train(), Agreement()
        optimizer = torch.optim.AdamW(
            [*net.parameters(), *loss.parameters()], lr=RATE, weight_decay=DECAY
        )
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = (
                    RATE
                    * min(1.0, (step + 1) / WARM)
                    * (0.01 + 0.5 * (1 + math.cos(math.pi * step / steps)))
                )
            chosen = [sets[n % len(sets)] for n in range(batch)]
            shape, mel = draw_batch([clips[rng.integers(len(clips))] for clips in chosen], rng)
            held = hold(shape[: len(shape) // 3], rng)
            # One pass, so that batch norms see moving and still mouths together.
            lips = net.lips(torch.from_numpy(np.concatenate([shape, held])))
            windows, clips_loss = loss(
                lips[: len(shape)], net.voice(torch.from_numpy(mel)), lips[len(shape) :]
            )
            optimizer.zero_grad()
            (windows + clips_loss).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            if (step + 1) % PRINT_EVERY == 0:
                print(
                    f"step {step + 1}/{steps}  windows {windows.item():.3f}  clips "
                    f"{clips_loss.item():.3f}",
                    flush=True,
                )
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                save(net, out, record | {"steps": step + 1})
    return net.eval()


def save(net: LipSyncNet, out: Path, record: dict[str, Any]) -> None:
    """Weights in half precision with their record; appears by rename. One entry of metadata,
    because several have no fixed order.
    """
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        temporary.write_bytes(
            to_bytes(state, metadata={"record": json.dumps(record, sort_keys=True)})
        )
        move_into_place(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.judge_training.lip_sync", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="shard sets, drawn from equally often",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors", help="where the weights go"
    )
    parser.add_argument("--steps", type=int, default=1500, help="updates (1500)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.steps < 1:
        raise UserError("--steps", args.steps, "1 or more")
    if not args.out.parent.is_dir():
        raise UserError("--out", args.out, "a file in a folder that exists")
    sets = {folder: read_clips(folder) for folder in args.data}
    for folder, clips in sets.items():
        print(f"{folder}: {len(clips)} clips")
    sources = [
        {"clips": len(clips), "index_sha256": sha256_of(folder / "index.json")}
        for folder, clips in sets.items()
    ]
    record = {
        "judge": NAME,
        "seed": args.seed,
        "wanted_steps": args.steps,
        "frames": FRAMES,
        "window": WINDOW,
        "data": sources,
    }
    train(list(sets.values()), args.steps, args.seed, args.out, record)
    print(f"wrote {args.out}, sha256 {sha256_of(args.out)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"lip_sync: {error}", file=sys.stderr)
        sys.exit(2)
