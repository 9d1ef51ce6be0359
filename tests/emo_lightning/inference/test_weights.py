"""Weights files of earlier versions load, and those of later ones are refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import save_file

from emo_lightning.core.errors import MismatchError
from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.models.checkpoint_io import (
    FORMAT,
    META_KEY,
    SHIPPED,
    export,
    load_decoupler,
    load_refiner,
    load_renderer,
    read_network,
)
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig

OLD = {"width": 16, "front_width": 8, "content": 12, "settle": 5, "erase": True, "bits": True}
META = {"stage": 1, "product": "decoupler", "layout": BUILTIN.to_dict(), "model": OLD}


@pytest.fixture
def decoupler() -> AudioDecoupler:
    config = DecouplerConfig(
        width=16, front_width=8, content=12, causal_norm_frames=5, leace=True, binarize=True
    )
    return AudioDecoupler(config)


def test_the_model_keys_of_format_1_are_translated(
    decoupler: AudioDecoupler, tmp_path: Path
) -> None:
    path = tmp_path / "decoupler.safetensors"
    save_file(decoupler.state_dict(), path, metadata={META_KEY: json.dumps(META | {"format": 1})})
    network = read_network(path, "decoupler", "decoupler")
    assert load_decoupler(network).config == decoupler.config
    again = tmp_path / "again.safetensors"
    mark = export(again, decoupler, network.meta)
    assert mark == network.fingerprint == read_network(again, "decoupler", "x").fingerprint
    assert read_network(again, "decoupler", "x").meta["format"] == FORMAT


def test_a_file_of_a_newer_version_is_refused(decoupler: AudioDecoupler, tmp_path: Path) -> None:
    path, meta = tmp_path / "decoupler.safetensors", META | {"format": FORMAT + 1}
    save_file(decoupler.state_dict(), path, metadata={META_KEY: json.dumps(meta)})
    with pytest.raises(MismatchError, match="newer"):
        read_network(path, "decoupler", "decoupler")


def test_the_shipped_renderers_load() -> None:
    renderer = load_renderer(read_network(SHIPPED / "renderer.safetensors", "renderer", "x"))
    assert renderer.output_size == 2 * renderer.config.image_size
    refiner = load_refiner(read_network(SHIPPED / "refiner.safetensors", "refiner", "x"))
    assert not refiner.config.inner_mouth
