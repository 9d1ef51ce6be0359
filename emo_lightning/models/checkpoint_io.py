"""Weights on disk: exported networks as safetensors, training checkpoints, and their order.

A network file's metadata has the stage, sizes, coefficient layout, fingerprint of the network it
was trained on, and origin. Nothing in a file can run code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from emo_lightning.core.atomic_files import atomic_file
from emo_lightning.core.errors import MismatchError, UserError
from emo_lightning.face.coefficients import Layout

if TYPE_CHECKING:
    from emo_lightning.models.decoupler.decoupler import AudioDecoupler
    from emo_lightning.models.motion.motion_model import MotionModel
    from emo_lightning.models.renderer.face_renderer import FaceRenderer
    from emo_lightning.models.renderer.refiner import Refiner

SHIPPED = Path(__file__).parents[1] / "weights"
"""Folder of the weights that come with the package."""
PRODUCTS = {"decoupler": 1, "heads": 2, "renderer": 3, "refiner": 3}
"""Network files: stem and number of the stage that writes it."""
FORMAT = 2
"""Version of the metadata; 1 had the names in :data:`RENAMED`."""
RENAMED = SHIPPED / "renamed.json"
"""Names in files of format 1 and their present ones, by product: ``model`` the keys of
``meta["model"]``, ``weights`` the prefixes of weights' names."""
META_KEY = "emo_lightning"
"""Entry of a checkpoint, and of a safetensors file's metadata, that holds the metadata."""
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class StoredNetwork:
    """Contents of a network file: metadata, weights, and their fingerprint as stored."""

    meta: dict[str, Any]
    state: dict[str, Tensor]
    fingerprint: str
    path: Path

    @property
    def layout(self) -> Layout:
        """The coefficient layout it was trained with."""
        return Layout.from_dict(self.meta["layout"])


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values as float32, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().float().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def export(path: str | Path, module: nn.Module, meta: Mapping[str, Any], half: bool = False) -> str:
    """Write a network as safetensors, atomically.

    Args:
        path: the file.
        module: the network.
        meta: see :meth:`emo_lightning.training.base.StageModule.meta`.
        half: store 16-bit floats, for a smaller file.

    Returns:
        The fingerprint of the weights as stored.
    """
    return _write(Path(path), module.state_dict(), meta, half)


def export_checkpoint(path: str | Path, product: str, out: Path, half: bool = False) -> str:
    """Write the network of a training checkpoint as safetensors, atomically.

    Args:
        path: the checkpoint.
        product: network that it must hold, a key of :data:`PRODUCTS`.
        out, half: as :func:`export`.

    Raises:
        UserError: an unreadable checkpoint, or weights that are not finite.
        MismatchError: another stage's checkpoint.
    """
    network = read_network(path, product, "checkpoint")
    bad = [name for name, value in network.state.items() if not bool(torch.isfinite(value).all())]
    if bad:
        accepted = "a checkpoint with finite weights, such as one before"
        raise UserError("checkpoint", path, accepted, f"has weights that are not finite ({bad[0]})")
    return _write(out, network.state, network.meta, half)


def product_of(path: str | Path) -> str:
    """Name of the network that a training checkpoint holds; UserError for another file."""
    accepted = "a checkpoint of a run, such as best.ckpt or last.ckpt"
    if not Path(path).is_file():
        raise UserError("checkpoint", path, accepted, "is not a file")
    try:
        return str(read_training_checkpoint(path)[META_KEY]["product"])
    except Exception as error:  # torch's reader of unsafe pickles has an exception class of its own
        reason = (str(error).splitlines() or ["empty"])[0][:80]
        raise UserError("checkpoint", path, accepted, f"cannot be read ({reason})") from None


def _write(path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any], half: bool) -> str:
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    if half:
        state = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    mark = fingerprint(state)
    record = json.dumps({**meta, "format": FORMAT, "fingerprint": mark})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        save_file(state, temporary, metadata={META_KEY: record})
        temporary.chmod(0o644)
    return mark


def read_network(path: str | Path, product: str, argument: str) -> StoredNetwork:
    """Read one network from an exported file or a training checkpoint.

    Args:
        path: ``.safetensors`` or ``.ckpt``.
        product: which network it must be, a key of :data:`PRODUCTS`.
        argument: name of the file in error messages.

    Raises:
        UserError: no such file, or not one of ours.
        MismatchError: another stage's network.
    """
    path = Path(path)
    accepted = (
        f"the {product} that stage {PRODUCTS[product]} wrote ({product}.safetensors or last.ckpt)"
    )
    if not path.is_file():
        raise UserError(argument, path, accepted, "is not a file")
    try:
        meta, state = _read_checkpoint(path) if path.suffix == ".ckpt" else _read_export(path)
        found, stage, _ = str(meta["product"]), int(meta["stage"]), Layout.from_dict(meta["layout"])
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        EOFError,
    ) as error:
        raise UserError(
            argument, path, accepted, f"cannot be read ({str(error).splitlines()[0][:120]})"
        ) from None
    except Exception as error:  # torch's reader of unsafe pickles has an exception class of its own
        if type(error).__name__ != "UnpicklingError":
            raise
        raise UserError(argument, path, accepted, "holds more than plain weights") from None
    if found != product:
        raise MismatchError(argument, path, accepted, f"is the {found} of stage {stage}")
    if int(meta.get("format", 1)) > FORMAT:
        raise MismatchError(
            argument, path, "a file of this version or an older one", "was written by a newer one"
        )
    # Over the names as stored: that is what a later stage recorded as its predecessor.
    return _translated(StoredNetwork(meta, state, fingerprint(state), path))


def load_decoupler(network: StoredNetwork, argument: str = "decoupler") -> AudioDecoupler:
    """Stage 1's network with its weights; MismatchError when sizes and weights disagree."""
    from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig

    config = network.meta["model"]
    return _filled(lambda: AudioDecoupler(DecouplerConfig(**config)), network, argument)


def load_motion_model(network: StoredNetwork, argument: str = "heads") -> MotionModel:
    """Stage 2's networks with their weights; MismatchError when sizes and weights disagree."""
    from emo_lightning.models.motion.emotion_matrix import prototype_table
    from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig

    layout, content = network.layout, int(network.meta["content"])

    def build() -> MotionModel:
        config = MotionModelConfig(**network.meta["model"])
        return MotionModel(config, layout, content, prototype_table(layout))

    return _filled(build, network, argument)


def load_renderer(network: StoredNetwork, argument: str = "renderer") -> FaceRenderer:
    """Stage 3's network with its weights; MismatchError when sizes and weights disagree."""
    from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig

    config, layout = network.meta["model"], network.layout
    return _filled(lambda: FaceRenderer(RendererConfig(**config), layout), network, argument)


def load_refiner(network: StoredNetwork, argument: str = "refiner") -> Refiner:
    """Stage 3's refiner with its weights; MismatchError when sizes and weights disagree."""
    from emo_lightning.models.renderer.refiner import Refiner, RefinerConfig

    config, layout = network.meta["model"], network.layout
    return _filled(lambda: Refiner(RefinerConfig(**config), layout), network, argument)


def check_follows(later: StoredNetwork, earlier: StoredNetwork, argument: str) -> None:
    """Raise MismatchError unless ``later`` was trained on exactly ``earlier``."""
    if later.meta.get("predecessor") != earlier.fingerprint:
        product, wanted = earlier.meta["product"], str(later.meta.get("predecessor"))[:12]
        marks = f"fingerprint {wanted}; {earlier.path} has {earlier.fingerprint[:12]}"
        accepted = f"the {product} it was trained on ({marks})"
        problem = f"does not belong to this {product}"
        raise MismatchError(argument, later.path, accepted, problem)


def read_training_checkpoint(path: str | Path) -> dict[str, Any]:
    """A training checkpoint as plain values and tensors."""
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and weights of the trained network in a checkpoint."""
    record = read_training_checkpoint(path)
    meta = dict(record[META_KEY])
    prefix = str(meta.pop("prefix"))
    return meta, {
        name.removeprefix(prefix): value
        for name, value in record["state_dict"].items()
        if name.startswith(prefix)
    }


def _read_export(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metadata and weights of an exported file."""
    with safe_open(path, framework="pt", device="cpu") as file:
        meta = json.loads((file.metadata() or {})[META_KEY])
        return meta, {name: file.get_tensor(name).float() for name in file.keys()}


def _translated(network: StoredNetwork) -> StoredNetwork:
    """The network under present names, whatever version wrote it."""
    meta, state = network.meta, network.state
    renamed = json.loads(RENAMED.read_text(encoding="utf-8")).get(meta["product"], {})
    for old, new in renamed.get("weights", {}).items():
        state = {name.replace(old, new): value for name, value in state.items()}
    if int(meta.get("format", 1)) < FORMAT and "model" in meta:
        names = renamed.get("model", {})
        model = {names.get(key, key): value for key, value in meta["model"].items()}
        if isinstance(model.get("output_scale"), bool):
            model["output_scale"] = 2 if model["output_scale"] else 1
        meta = {**meta, "model": model, "format": FORMAT}
    return StoredNetwork(meta, state, network.fingerprint, network.path)


def _filled(build: Callable[[], M], network: StoredNetwork, argument: str) -> M:
    """Build a network and load its weights strictly."""
    try:
        module = build()
        module.load_state_dict(network.state, strict=True)
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise MismatchError(
            argument,
            network.path,
            "a file of this version",
            f"has sizes that do not fit its weights ({reason})",
        ) from None
    return module.eval()
