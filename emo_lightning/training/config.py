"""Typed configuration of a run: one YAML file per stage, its sizes, and ``key=value`` overrides.

Later wins: the dataclasses' defaults, the file, the chosen entry of its ``sizes``, the overrides.
``???`` marks a value that must be given. Every field carries a docstring, which
``emo train FILE --help`` lists.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from emo_lightning.core.errors import UserError

STAGES: Mapping[str, tuple[str, str]] = {
    "1": ("emo_lightning.training.decoupler", "Stage1Run"),
    "2": ("emo_lightning.training.motion", "Stage2Run"),
    "3": ("emo_lightning.training.renderer", "Stage3Run"),
    "3 refined": ("emo_lightning.training.refiner", "RefinerRun"),
}
"""Module and run class by stage; imported when the stage is chosen, so that stage 1 loads no
renderer."""
FILE, OVERRIDE = "the experiment file", "an override"
FREE_FORM = "callbacks"
"""The block whose keys are a library's own."""


@dataclass(frozen=True)
class Rule:
    """What a value must fulfil, and how the accepted values are described to the user."""

    accepted: str
    holds: Callable[[Any], bool]


def one_of(*choices: str) -> Rule:
    """One of a few words."""
    return Rule(", ".join(choices), lambda value: value in choices)


def number(least: float, most: float = math.inf, above: bool = False) -> Rule:
    """A finite number from ``least`` (or ``above`` it) to ``most``."""
    words = f"{least:g} or more" if math.isinf(most) else f"{least} to {most}"
    return Rule(
        f"a number above {least:g}" if above else words,
        lambda value: (
            math.isfinite(value) and least <= value <= most and (value > least or not above)
        ),
    )


@dataclass
class LoaderConfig:
    """How shards become batches."""

    batch_size: int = 16
    """Samples per step and process."""
    frames: int = 64
    """Length of a window in stages 1 and 2, video frames."""
    workers: int | None = None
    """Loader processes of each rank; null: 0 on a CPU, up to 4 (stage 3: 8) with a GPU."""
    share_shards: bool = False
    """Allow more readers than shards: every reader reads all shards and keeps its share."""


@dataclass
class TrainerConfig:
    """Length, devices and precision; the names are Lightning's where it has the option."""

    max_steps: int = 1000
    """Optimiser steps of the run."""
    val_every: int = 100
    """Optimiser steps between validations."""
    val_batches: int = 8
    """Batches of a validation."""
    checkpoint_steps: int = 0
    """Steps between checkpoints besides those of validations; 0 for none."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints besides those of validations; 0 for none."""
    log_every: int = 10
    """Steps between logged training metrics."""
    accelerator: str = "auto"
    """auto, cpu, gpu or mps."""
    devices: Any = None
    """Processes per node: a number, a list of GPUs, auto for all; null: what torchrun or SLURM
    started, else 1."""
    num_nodes: int | None = None
    """Nodes; null: what torchrun or SLURM started, else 1."""
    strategy: str = "auto"
    """auto (DDP when there are several processes) or ddp."""
    precision: str = "32-true"
    """32-true, bf16-mixed or 16-mixed."""
    accumulate_grad_batches: int = 1
    """Batches whose gradients make one step."""
    gradient_clip_val: float = 1.0
    """Largest gradient norm, of each network by itself; 0 for no clipping."""
    compile: bool = False
    """Compile the networks with torch.compile; takes minutes and a C++ compiler."""
    channels_last: bool = False
    """Use the channels_last memory format for convolutions over images."""
    threads: int = 0
    """CPU threads of a process; 0 leaves the choice to PyTorch."""


@dataclass
class OptimConfig:
    """AdamW with linear warm-up, then a cosine to a tenth of the learning rate."""

    weight_decay: float = 0.01
    """Decoupled weight decay."""
    warmup_steps: int = 50
    """Steps of linear warm-up."""


@dataclass
class LoggingConfig:
    """Trackers besides the run folder's own metrics.csv."""

    tensorboard: bool = False
    """Write TensorBoard event files into the run folder."""
    pictures: bool = True
    """Write validation figures into the run folder and to W&B."""


@dataclass
class WandbConfig:
    """Weights & Biases."""

    mode: str = "offline"
    """offline (no account), online, or disabled (not even imported)."""
    project: str = "emo-lightning"
    """Project of the run."""
    name: str | None = None
    """Display name of the run; null: the run folder's."""
    group: str | None = None
    """Group of the run, such as one ablation; null: the stage."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""


@dataclass
class RunConfig:
    """Keys of every stage's run."""

    rules: ClassVar[Mapping[str, Rule]] = {
        "seed": number(0, 2**32 - 1),
        "export": one_of("best", "last"),
        "loader.batch_size": number(1),
        "loader.frames": number(1, 250),
        "loader.workers": number(0),
        "trainer.max_steps": number(1),
        "trainer.val_every": number(1),
        "trainer.val_batches": number(1),
        "trainer.checkpoint_steps": number(0),
        "trainer.checkpoint_minutes": number(0),
        "trainer.log_every": number(1),
        "trainer.accelerator": one_of("auto", "cpu", "gpu", "mps"),
        "trainer.num_nodes": number(1),
        "trainer.strategy": one_of("auto", "ddp"),
        "trainer.precision": one_of("32-true", "bf16-mixed", "16-mixed"),
        "trainer.accumulate_grad_batches": number(1),
        "trainer.gradient_clip_val": number(0),
        "trainer.threads": number(0),
        "optim.weight_decay": number(0),
        "optim.warmup_steps": number(0),
        "wandb.mode": one_of("offline", "online", "disabled"),
        "model.lr": number(0, above=True),
        "loss.*": number(0),
    }
    """Accepted values by key; a subclass adds its own."""

    stage: int = MISSING
    """1, 2 or 3."""
    size: str = "cpu"
    """Which of the file's sizes: debug, cpu or paper."""
    data: str = MISSING
    """Folder of shards, or several with commas between them."""
    out: str = MISSING
    """Folder of the run; {run_id} in it becomes the sweep trial's id, or the time."""
    seed: int = 0
    """Seed of initialisation, sampling and augmentation."""
    init: str | None = None
    """Exported network or checkpoint of the same stage and sizes that a new run starts from."""
    resume: str = "auto"
    """auto: continue from out's last checkpoint, if any. never: start anew. weights: start anew
    from its weights. Or a checkpoint's path."""
    export: str = "best"
    """Which checkpoint becomes the exported network: best (by the monitored metric) or last."""
    loader: LoaderConfig = field(default_factory=LoaderConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)
    callbacks: dict[str, Any] = field(default_factory=dict)
    """Callbacks of lightning.pytorch.callbacks by class name with their arguments, such as
    callbacks.EarlyStopping.monitor=val/loss."""

    def check(self) -> None:
        """Refuse combinations of values; UserError."""
        if self.loader.batch_size < 2 and self.stage < 3:
            raise UserError(
                "loader.batch_size", self.loader.batch_size, "2 or more in stages 1 and 2"
            )
        check_devices(self.trainer.devices)


def check_devices(devices: Any) -> None:
    """UserError unless ``trainer.devices`` is null, auto, a number, or distinct indices."""
    whole = isinstance(devices, int) and not isinstance(devices, bool)
    listed = isinstance(devices, list) and devices and len({*map(str, devices)}) == len(devices)
    indices = listed and all(type(entry) is int and entry >= 0 for entry in devices)
    if not (devices in (None, "auto") or (whole and devices >= 1) or indices):
        raise UserError(
            "trainer.devices", devices, "null, auto, a number from 1, or a list such as [0,1]"
        )


def run_class(stage: object, renderer: object = None) -> type[RunConfig]:
    """The run class of a stage; KeyError for a stage that does not exist."""
    module, name = STAGES["3 refined" if stage == 3 and renderer == "refined" else str(stage)]
    return getattr(importlib.import_module(module), name)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a stage's experiment file and apply overrides.

    Args:
        path: YAML with ``stage``, any keys of its run, and ``sizes``.
        overrides: ``key=value`` each, keys dotted; ``null`` is no value.

    Raises:
        UserError: unreadable file, unknown key (with the nearest one), wrong type, value not
            accepted, missing value.
    """
    content = _mapping(Path(path))
    sizes = content.pop("sizes", {})
    config = OmegaConf.structured(_class_of(path, content))
    given = [_split(text) for text in overrides]
    chosen = [value for key, value in given if key == "size"]
    size = chosen[-1] if chosen else content.get("size", RunConfig.size)
    if size not in sizes:
        accepted = ", ".join(sizes) or "a size that the file defines"
        raise UserError("size", size, accepted, "is not a size")
    for source, pairs in (
        (FILE, _leaves(content)),
        (FILE, _leaves(sizes[size] or {})),
        (OVERRIDE, given),
    ):
        for key, value in pairs:
            _set(config, key, value, source)
    _check_values(config)
    run = OmegaConf.to_object(config)
    assert isinstance(run, RunConfig)
    run.check()
    return run


def to_plain(run: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain containers."""
    plain = OmegaConf.to_container(OmegaConf.structured(run))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and values of a nested mapping."""
    return dict(_leaves(tree))


def describe(path: str | Path) -> list[tuple[str, str, str, str]]:
    """Key, type, value in the file at its default size, and meaning of every key of a stage."""
    content = _mapping(Path(path))
    cls, sizes = _class_of(path, content), content.pop("sizes", {})
    config = OmegaConf.structured(cls)
    for pairs in (content, sizes.get(content.get("size", RunConfig.size)) or {}):
        for key, value in _leaves(pairs):
            _set(config, key, value, FILE)
    values, meanings = flatten(OmegaConf.to_container(config)), dict(_meanings(cls))
    rows = []
    for key, kind in _all_keys(config):
        value = values.get(key, {})
        shown = (
            "null"
            if value is None
            else str(value).lower()
            if isinstance(value, bool)
            else str(value)
        )
        rows.append((key, kind, shown, meanings.get(key, "")))
    return rows


def _meanings(cls: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Docstring of every field, from the source of the class and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            for before, node in zip(tree.body, tree.body[1:], strict=False):  # type: ignore[attr-defined]
                if isinstance(before, ast.AnnAssign) and isinstance(node, ast.Expr):
                    texts[before.target.id] = " ".join(ast.literal_eval(node.value).split())  # type: ignore[union-attr]
    for entry in fields(cls):
        if is_dataclass(entry.default_factory):
            yield from _meanings(entry.default_factory, f"{prefix}{entry.name}.")  # type: ignore[arg-type]
        else:
            yield f"{prefix}{entry.name}", texts.get(entry.name, "")


def _class_of(path: str | Path, content: Mapping[str, Any]) -> type[RunConfig]:
    try:
        return run_class(content.get("stage"), content.get("renderer"))
    except KeyError:
        raise UserError(
            f"{path} stage", content.get("stage"), "1, 2, 3", "is not a stage"
        ) from None


def _mapping(path: Path) -> dict[str, Any]:
    """The file as a mapping."""
    accepted = "an experiment file, such as experiments/stage1.yaml"
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError("experiment", path, accepted, "does not exist") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise UserError("experiment", path, accepted, f"cannot be read ({reason})") from None
    if not isinstance(content, dict) or not isinstance(content.get("sizes", {}), dict):
        raise UserError("experiment", path, accepted, "does not hold a mapping")
    return {str(key): value for key, value in content.items()}


def _split(text: str) -> tuple[str, Any]:
    """``key=value`` to its parts, the value parsed as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError("override", text, "key=value", "has no key and value")
    try:
        return key, OmegaConf.to_container(OmegaConf.create(f"value: {value}"))["value"]  # type: ignore[call-overload, index]
    except (yaml.YAMLError, OmegaConfBaseException):
        return key, value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _set(config: DictConfig, key: str, value: Any, source: str) -> None:
    """Set one value; UserError for an unknown key or a wrong type."""
    if key.startswith(f"{FREE_FORM}."):
        OmegaConf.update(config, key, value, force_add=True)
        return
    kinds = dict(_all_keys(config))
    if key not in kinds:
        raise UserError("key", key, _nearest(key, list(kinds)), f"in {source} is not known")
    if value == "None":
        accepted = "null for no value, or another value"
        raise UserError(key, value, accepted, "is a word, not the absence of a value")
    try:
        OmegaConf.update(config, key, value)
    except OmegaConfBaseException:
        shown = "null" if value is None else value
        raise UserError(key, shown, kinds[key], f"(from {source}) has the wrong type") from None


def _nearest(key: str, known: Sequence[str]) -> str:
    """Words that point to the known key most like a wrong one."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if not near:
        last = [name.rsplit(".", 1)[-1] for name in known]
        near = difflib.get_close_matches(key.rsplit(".", 1)[-1], last, n=1)
    matches = [name for name in known if near and (name == near[0] or name.endswith(f".{near[0]}"))]
    groups = ", ".join(sorted({name.split(".")[0] for name in known}))
    return f"did you mean {matches[0]}?" if matches else groups


def _all_keys(config: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every settable key and, in words, the type of its value."""
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    for entry in fields(OmegaConf.get_type(config)):
        key, value = (
            entry.name,
            None if OmegaConf.is_missing(config, entry.name) else config[entry.name],
        )
        if OmegaConf.is_dict(value) and is_dataclass(OmegaConf.get_type(value)):
            yield from _all_keys(value, f"{prefix}{key}.")
            continue
        kind, _, rest = str(entry.type).partition(" | ")
        plain = {cls.__name__: text for cls, text in words.items()} | {
            "list[str]": "a list of text",
            "dict[str, Any]": "arguments by class name",
            "Any": "null, a number, a list, or auto",
        }
        yield f"{prefix}{key}", plain.get(kind, kind) + (" or null" if rest == "None" else "")


def _check_values(config: DictConfig) -> None:
    """Refuse what is missing or out of range."""
    for key in sorted(OmegaConf.missing_keys(config)):
        wanted = "PATH" if key in ("data", "out", "decoupler") else "VALUE"
        raise UserError(key, "???", f"{key}={wanted}", "is not set")
    rules = {}
    for base in reversed(OmegaConf.get_type(config).__mro__):
        rules |= vars(base).get("rules", {})
    for key, value in flatten(OmegaConf.to_container(config)).items():  # type: ignore[arg-type]
        rule = rules.get(key) or rules.get(f"{key.partition('.')[0]}.*")
        if rule and value is not None and not isinstance(value, bool) and not rule.holds(value):
            raise UserError(key, value, rule.accepted)
