"""Weights files of earlier versions load, and those of later ones are refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from emo_lightning.core.errors import MismatchError
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion
from emo_lightning.models.checkpoint_io import (
    FORMAT,
    META_KEY,
    SHIPPED,
    check_follows,
    export,
    load_decoupler,
    load_refiner,
    load_renderer,
    read_network,
)
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.renderer.mapping_net import still_window
from emo_lightning.motion.emotion_track import EmotionTrack

PLACES = [3, 44, 50, 60, 70, 93, 95]
MOTION = [
    [0.0, 0.023210, 0.505173, 0.150490, -0.000151, -0.018741, -0.025679],
    [0.0, 0.019010, 0.580889, 0.0, -0.000215, -0.064041, -0.069313],
]
FRAME = [[0.13762, 0.13662, 0.13279], [0.47119, 0.47042, 0.46641], [0.80472, 0.80365, 0.79959]]
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


def test_reading_weights_needs_no_media_library() -> None:
    code = "import sys, emo_lightning.inference.weights; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "torch" in loaded and not loaded & {"av", "cv2", "lightning", "mediapipe"}


@pytest.mark.parametrize(
    ("product", "old"),
    [
        ("decoupler", {"leace.projection": "erasure.taken", "leace.mean": "erasure.mean"}),
        ("renderer", {"mesh.part_code": "sheet.mark", "mesh.basis": "sheet.basis"}),
        ("heads", {"posenet.to_bearing.weight": "posenet.held.weight"}),
        ("refiner", {"fine.modulation.bias": "fine.film.bias"}),
    ],
)
def test_the_weights_of_earlier_versions_have_their_values(
    product: str, old: dict[str, str], tmp_path: Path
) -> None:
    """Files with the names of format 1, as the shipped ones were or are: nothing is lost."""
    shipped = read_network(SHIPPED / f"{product}.safetensors", product, "x")
    names = {new.rpartition(".")[0]: stored.rpartition(".")[0] for new, stored in old.items()}
    state = {}
    for name, value in shipped.state.items():
        prefix, _, last = name.rpartition(".")
        state[old.get(name, f"{names.get(prefix, prefix)}.{last}".lstrip("."))] = value
    path = tmp_path / f"{product}.safetensors"
    save_file(state, path, metadata={META_KEY: json.dumps({**shipped.meta, "format": 1})})
    network = read_network(path, product, "x")
    assert network.state.keys() == shipped.state.keys() and set(old.values()) <= state.keys()
    assert all(torch.equal(network.state[name], shipped.state[name]) for name in network.state)


def test_the_shipped_motion_models_belong_to_their_decouplers() -> None:
    for folder in SHIPPED_WEIGHTS.values():
        files = [
            read_network(folder / f"{name}.safetensors", name, "x")
            for name in ("decoupler", "heads")
        ]
        check_follows(files[1], files[0], "x")
        assert all(file.meta["fingerprint"] == file.fingerprint for file in files)


def test_the_shipped_networks_give_the_numbers_of_training() -> None:
    """Coefficients, computed by the version that trained the files, and a frame of them."""
    rows = (np.arange(60 * 4)[:, None] * 0.37 + np.arange(80) * 0.11).astype(np.float32)
    source = Coefficients(
        BUILTIN, {block: np.zeros((1, width), np.float32) for block, width in BUILTIN.widths}
    )
    track = EmotionTrack.constant("happy", 9.0)
    networks = load_audio_to_motion()
    networks.voice_gate = False
    blocks = networks.generate([3.0 * np.sin(rows) - 7.0], source, track, seed=3)
    made = np.concatenate([block.joined() for block in blocks])
    np.testing.assert_allclose(made[[10, 59]][:, PLACES], MOTION, atol=2e-5)
    renderer = load_renderer(read_network(SHIPPED / "renderer.safetensors", "renderer", "x"))
    image = torch.linspace(0, 1, 3 * 256 * 256).view(1, 3, 256, 256)
    with torch.no_grad():
        source_window = still_window(torch.from_numpy(source.joined()))
        portrait = renderer.prepare(image, source_window)
        frame = renderer.render(portrait, torch.from_numpy(made[None, 20:47])).image
    np.testing.assert_allclose(frame[0, :, 100, [60, 128, 200]].numpy(), FRAME, atol=2e-4)
