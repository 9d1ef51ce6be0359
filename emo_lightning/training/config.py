"""What a training run can be told: nested dataclasses, filled from one YAML file a stage and ``key=value`` overrides.

A stage's YAML gives what differs from the defaults here, and under ``sizes`` what ``size=debug|cpu|paper`` changes further.
Later wins: defaults, the file, its size, the overrides. A value that must be given is ``???``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emo_lightning.core.errors import UserError
from emo_lightning.models.decoupler.audio_frontend import FRONTENDS
from emo_lightning.models.motion.motion_model import WIRINGS
from emo_lightning.training.base import OptimConfig
from emo_lightning.training.decoupler import Stage1Loss, Stage1Model
from emo_lightning.training.motion import Stage2Loss, Stage2Model
from emo_lightning.training.refiner import RefineLoss, RefineModel
from emo_lightning.training.renderer import Stage3Loss, Stage3Model


@dataclass
class LoaderConfig:
    """How shards become batches."""

    batch_size: int = 16
    """Samples a step and device."""
    frames: int = 64
    """Length of a window in stages 1 and 2, video frames."""
    workers: int | None = None
    """Processes that read ahead, of each rank; 0 reads in the training process. Null chooses: 0 on a CPU, on a GPU up to 4
    (stage 3: 8) and never more than fit. Ranks x workers may be as many as there are train archives."""
    share_shards: bool = False
    """Let readers outnumber the archives: each goes through all of them and takes its own samples."""


@dataclass
class TrainerConfig:
    """How long and on what."""

    max_steps: int = 1000
    val_every: int = 100
    """Steps between two validations, an epoch; a checkpoint is written at each."""
    val_batches: int = 8
    """Batches of a validation."""
    checkpoint_steps: int = 0
    """Steps between the checkpoints within an epoch, which a killed run goes on from exactly; 0 leaves it to the time."""
    checkpoint_minutes: float = 10.0
    """Minutes without a checkpoint after which one is written; 0 leaves it to the steps."""
    log_every: int = 10
    devices: int = 1
    """Processes; more than one trains by DistributedDataParallel, over gloo on CPUs."""
    accelerator: str = "auto"
    """``auto``, ``cpu`` or ``gpu``."""
    precision: str = "32-true"
    """``32-true`` or ``bf16-mixed``."""
    threads: int = 0
    """CPU threads of a process; 0 leaves it to PyTorch."""


@dataclass
class WandbConfig:
    """Weights & Biases. ``offline`` needs no account; ``disabled`` does not even import it."""

    mode: str = "offline"
    project: str = "emo-lightning"
    name: str | None = None


@dataclass
class RunConfig:
    """What every stage's run has."""

    stage: int = MISSING
    size: str = "cpu"
    data: str = MISSING
    """Folder of shards, or several with commas between."""
    out: str = MISSING
    """Folder of the run."""
    seed: int = 0
    resume: str = "auto"
    """``auto`` goes on from ``out``'s last checkpoint if there is one, ``never`` starts anew, else a checkpoint's path."""
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)


@dataclass
class Stage1Run(RunConfig):
    """A run of stage 1."""

    model: Stage1Model = field(default_factory=Stage1Model)
    loss: Stage1Loss = field(default_factory=Stage1Loss)


@dataclass
class Stage2Run(RunConfig):
    """A run of stage 2."""

    decoupler: str = MISSING
    """Stage 1's network: decoupler.safetensors or last.ckpt."""
    model: Stage2Model = field(default_factory=Stage2Model)
    loss: Stage2Loss = field(default_factory=Stage2Loss)


@dataclass
class Stage3Trainer(TrainerConfig):
    """What may make stage 3 faster on a GPU; the numbers stay the same up to rounding."""

    channels_last: bool = False
    """Keep a picture's channels side by side in memory."""
    compile: bool = False
    """Compile renderer and discriminator with ``torch.compile`` (takes minutes, and a C++ compiler)."""


@dataclass
class Stage3Run(RunConfig):
    """A run of stage 3."""

    trainer: Stage3Trainer = field(default_factory=Stage3Trainer)

    heads: str | None = None
    """Stage 2's networks, recorded as the predecessor and checked for the layout; the training itself needs none."""
    model: Stage3Model = field(default_factory=Stage3Model)
    loss: Stage3Loss = field(default_factory=Stage3Loss)


@dataclass
class RefineRun(RunConfig):
    """A run of stage 3's other renderer, the refinement of the geometric one."""

    renderer: str = "refined"
    heads: str | None = None
    """As in :class:`Stage3Run`."""
    sources: int = 3
    """Frames of each clip that serve as portraits."""
    model: RefineModel = field(default_factory=RefineModel)
    loss: RefineLoss = field(default_factory=RefineLoss)


AnyRun = Stage1Run | Stage2Run | Stage3Run | RefineRun
STAGES: Mapping[int, type[RunConfig]] = {1: Stage1Run, 2: Stage2Run, 3: Stage3Run}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "wandb.mode": ("offline", "online", "disabled"),
    "trainer.accelerator": ("auto", "cpu", "gpu"),
    "trainer.precision": ("32-true", "bf16-mixed"),
    "loss.levels": ("fine", "annotated"),
    "model.wiring": WIRINGS,
    "model.front_end": tuple(FRONTENDS),
    "renderer": ("refined",),
    "loss.backbone": ("auto", "vgg19", "inception", "stlpips", "pyramid"),
}
AT_LEAST_ONE = ("loader.batch_size", "loader.frames", "trainer.max_steps", "trainer.val_every", "trainer.val_batches", "trainer.log_every",
                "trainer.devices")  # fmt: skip
FILE, OVERRIDE = "the experiment file", "an override"


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> AnyRun:
    """Read a stage's experiment file and apply overrides.

    Args:
        path: YAML with ``stage``, any keys of its run, and ``sizes``.
        overrides: ``key=value`` each, keys dotted; ``null`` is no value.

    Raises:
        UserError: unreadable file, unknown key (with the nearest one), a value of the wrong type, a missing value.
    """
    content = _read(Path(path))
    sizes = content.pop("sizes", {})
    stage = content.get("stage")
    if stage not in STAGES:
        raise UserError(f"{path} stage", stage, ", ".join(map(str, STAGES)), "is not a stage")
    config = OmegaConf.structured(
        RefineRun if stage == 3 and content.get("renderer") == "refined" else STAGES[stage]
    )
    given = [_split(text) for text in overrides]
    size = next(
        (value for key, value in reversed(given) if key == "size"),
        content.get("size", RunConfig.size),
    )
    if size not in sizes:
        raise UserError(
            "size", size, ", ".join(sizes) or "a size that the file defines", "is not a size"
        )
    for source, pairs in (
        (FILE, _leaves(content)),
        (FILE, _leaves(sizes[size] or {})),
        (OVERRIDE, given),
    ):
        for key, value in pairs:
            _set(config, key, value, source)
    _check_values(config)
    run = OmegaConf.to_object(config)
    assert isinstance(run, AnyRun)
    return run


def to_plain(run: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers."""
    plain = OmegaConf.to_container(OmegaConf.structured(run))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _read(path: Path) -> dict[str, Any]:
    """The file as a mapping."""
    accepted = "an experiment file, such as experiments/stage1.yaml"
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError("experiment", path, accepted, "does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(
            "experiment", path, accepted, f"cannot be read ({str(error).splitlines()[0]})"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("sizes", {}), dict):
        raise UserError("experiment", path, accepted, "does not hold a mapping")
    return {str(key): value for key, value in content.items()}


def _split(text: str) -> tuple[str, Any]:
    """``key=value`` to its parts, the value read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError("override", text, "key=value", "has no key and value")
    try:
        return key, OmegaConf.to_container(OmegaConf.create(f"value: {value}"))["value"]  # type: ignore[call-overload, index]
    except (yaml.YAMLError, OmegaConfBaseException):
        return key, value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(config: DictConfig, key: str, value: Any, source: str) -> None:
    """Set one value, or say what is wrong with it."""
    known = [name for name, _ in _all_keys(config)]
    if key not in known:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or difflib.get_close_matches(
            key.rsplit(".", 1)[-1], [name.rsplit(".", 1)[-1] for name in known], n=1
        )
        match = next(
            (name for name in known if near and (name == near[0] or name.endswith(f".{near[0]}"))),
            None,
        )
        accepted = (
            f"did you mean {match}?"
            if match
            else ", ".join(sorted({name.split(".")[0] for name in known}))
        )
        raise UserError("key", key, accepted, f"in {source} is not known")
    if value == "None":
        raise UserError(
            key,
            value,
            "null for no value, or another value",
            "is a word, not the absence of a value",
        )
    try:
        OmegaConf.update(config, key, value)
    except OmegaConfBaseException:
        wanted = dict(_all_keys(config))[key]
        raise UserError(
            key, "null" if value is None else value, wanted, f"(from {source}) has the wrong type"
        ) from None


def _all_keys(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every settable key and, in words, the type of its value."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    for key in config:
        node = config._get_node(key)
        if isinstance(node, DictConfig):
            yield from _all_keys(node, f"{prefix}{key}.")
        else:
            kind = node._metadata.ref_type  # type: ignore[union-attr]
            optional = " or null" if node._metadata.optional else ""  # type: ignore[union-attr]
            yield f"{prefix}{key}", words.get(kind, getattr(kind, "__name__", str(kind))) + optional


def _check_values(config: DictConfig) -> None:
    """Refuse what is missing, out of its choices or out of range."""
    for key in sorted(OmegaConf.missing_keys(config)):
        raise UserError(
            key,
            "???",
            f"{key}=PATH" if key in ("data", "out", "decoupler") else f"{key}=VALUE",
            "is not set",
        )
    for key, choices in CHOICES.items():
        value = OmegaConf.select(config, key)
        if value is not None and value not in choices:
            raise UserError(key, value, ", ".join(choices))
    for key in AT_LEAST_ONE:
        value = OmegaConf.select(config, key)
        if value < 1:
            raise UserError(key, value, "1 or more")
    for key in ("seed", "loader.workers", "trainer.checkpoint_steps", "trainer.checkpoint_minutes", "trainer.threads", "optim.warmup_steps",
                "optim.weight_decay"):  # fmt: skip
        value = OmegaConf.select(config, key)
        if value is not None and not value >= 0:
            raise UserError(key, OmegaConf.select(config, key), "0 or more")
    for key in ("model.lr", "optim.clip"):
        if not 0 < OmegaConf.select(config, key) < float("inf"):
            raise UserError(key, OmegaConf.select(config, key), "a number above 0")
