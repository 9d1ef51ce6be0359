"""PoseNet trained alone: the decoupler and the other heads stay as they are, so that a variant of
it takes a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch

from datamodules.loading.datamodule import AudioShards
from emo_lightning.core.provenance import sha256_of
from emo_lightning.inference.audio_frontends import open_frontend
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.models.checkpoint_io import SHIPPED, export, load_decoupler, read_network
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.training.base import Noise, TrainingContext
from emo_lightning.training.config import OptimConfig
from emo_lightning.training.motion import (
    POSE_PARTS,
    MotionModule,
    Stage2Loss,
    Stage2Model,
    Stage2Recipe,
)


def with_new_posenet(folder: Path | None, sizes: Mapping[str, int]) -> AudioToMotion:
    """Trained networks with an untrained PoseNet of these sizes (fields of MotionModelConfig) in
    place of their own.
    """
    place = SHIPPED if folder is None else folder
    decoupler, network = (
        read_network(place / f"{name}.safetensors", name, "--checkpoint-dir")
        for name in ("decoupler", "heads")
    )
    known = {f.name for f in fields(MotionModelConfig)}
    config = replace(
        MotionModelConfig(
            **{
                k: v
                for k, v in network.meta["model"].items()
                if k in known and not k.startswith("pose_")
            }
        ),
        **sizes,
    )
    heads = MotionModel(
        config, network.layout, int(network.meta["content"]), prototype_table(network.layout)
    )
    heads.load_state_dict(
        {k: v for k, v in network.state.items() if not k.startswith("posenet.")}, strict=False
    )
    hearing = load_decoupler(decoupler)
    return AudioToMotion(hearing, heads, open_frontend(hearing.config.front_end))


def trained_posenet(
    data: Path, folder: Path | None = None, steps: int = 1500, seed: int = 0, lr: float = 1e-3, loss: Stage2Loss | None = None,
    condition: bool = True, log_every: int = 0, init: Path | None = None,
) -> AudioToMotion:  # fmt: skip
    """Trained networks with PoseNet trained anew on ``data``, as stage 2 trains it.

    Args:
        data: shards.
        folder: the other networks; those shipped by default.
        loss: weights of PoseNet's losses; stage 2's by default.
        condition: False hides voice and emotion from PoseNet.
        init: folder whose PoseNet, of the same sizes, the training starts from.
    """
    torch.manual_seed(seed)
    loss = loss or Stage2Loss()
    talker = with_new_posenet(folder, {})
    stage = MotionModule(
        Stage2Model(),
        loss,
        Stage2Recipe(),
        OptimConfig(),
        TrainingContext(talker.layout, seed),
        talker.decoupler,
    )
    stage.heads = talker.motion_model.requires_grad_(False)
    net = talker.motion_model.posenet.requires_grad_(True)
    if init is not None:
        before = read_network(init / "heads.safetensors", "heads", "--init").state
        prefix = "posenet."
        own = {k.removeprefix(prefix): v for k, v in before.items() if k.startswith(prefix)}
        net.load_state_dict(own)
    if not condition:
        blind(talker)
    shards = AudioShards(
        str(data),
        window=64,
        teacher=talker.mel_kind == "whisper",
        batch_size=16,
        seed=seed,
        epoch_batches=steps,
    )
    shards.setup()
    optimiser = torch.optim.AdamW(
        [p for p in net.parameters() if p.requires_grad], lr, (0.9, 0.98), weight_decay=0.01
    )
    weights = {name: getattr(loss, name) for name in POSE_PARTS}
    for step, batch in enumerate(shards.train_dataloader()):
        for group in optimiser.param_groups:
            group["lr"] = (
                lr
                * min(1.0, (step + 1) / 50)
                * (0.55 + 0.45 * float(torch.cos(torch.tensor(torch.pi * step / steps))))
            )
        parts = pose_parts(stage, batch, Noise(stage.device, seed, step))
        total = torch.stack([weights[name] * value for name, value in parts.items()]).sum()
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if log_every and step % log_every == 0:
            print(
                step,
                {name: round(float(value.detach()), 4) for name, value in parts.items()},
                flush=True,
            )
    return AudioToMotion(
        talker.decoupler, talker.motion_model.requires_grad_(False), talker.frontend
    )


def write_posenet(
    data: Path, folder: Path | None, steps: int, out: Path, init: Path | None = None
) -> None:
    """Train PoseNet anew on ``data`` and write the networks of ``folder`` with it to ``out``, the
    decoupler as 16-bit floats.

    MotionModel that learned to speak from people who were told to keep still should not hold their
    own as still.
    """
    place = SHIPPED if folder is None else folder
    network = read_network(place / "heads.safetensors", "heads", "--checkpoint-dir")
    talker = trained_posenet(data, folder, steps, log_every=100, init=init)
    sizes = {
        name: value
        for name, value in asdict(talker.motion_model.config).items()
        if name.startswith("pose_")
    }
    meta = {
        name: value for name, value in network.meta.items() if name not in ("format", "fingerprint")
    }
    meta |= {
        "model": {**network.meta["model"], **sizes},
        "posenet": {"steps": steps, "data_index_sha256": sha256_of(data / "index.json")},
    }
    out.mkdir(parents=True, exist_ok=True)
    hearing = read_network(place / "decoupler.safetensors", "decoupler", "--checkpoint-dir")
    about = {
        name: value for name, value in hearing.meta.items() if name not in ("format", "fingerprint")
    }
    export(out / "decoupler.safetensors", talker.decoupler, about, half=True)
    stored = read_network(out / "decoupler.safetensors", "decoupler", "--write")
    export(
        out / "heads.safetensors", talker.motion_model, meta | {"predecessor": stored.fingerprint}
    )


def pose_parts(
    stage: MotionModule, batch: dict[str, torch.Tensor], noise: Noise
) -> dict[str, torch.Tensor]:
    """PoseNet's losses of a batch, the networks before it frozen."""
    from emo_lightning.losses.masked import known_levels
    from emo_lightning.models.layers.temporal import repeat_edges

    heads = stage.heads
    with torch.no_grad():
        level = known_levels(batch["level"], batch["intensity"], batch["emotion"], True)
        control = heads.matrix(batch["emotion"], level)[:, None].expand(
            -1, batch["mask"].shape[1], -1
        )
        content = repeat_edges(
            stage.decoupler(batch[stage.decoupler.front_end.key]).content, heads.reach
        )
        given = heads(content, batch["source"], control).condition
    return stage.pose_losses(batch, given, noise)


def blind(talker: AudioToMotion) -> None:
    """Cut PoseNet off from its condition."""
    net = talker.motion_model.posenet
    for layer in (net.condition, net.log_size, net.to_bearing):
        torch.nn.init.zeros_(layer.weight)
        layer.weight.requires_grad_(False)
