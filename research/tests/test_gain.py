"""Gains bring the amplitude of the lips to that of the people given, and touch no other unit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from benchmarks import _lips
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion
from emo_lightning.models.checkpoint_io import read_network
from emo_lightning.motion.emotion_track import EmotionTrack
from research.gain import fit_gains, write


def test_gains_are_found_and_written(tmp_path: Path) -> None:
    networks = load_audio_to_motion()
    networks.voice_gate = False
    rng = np.random.default_rng(0)
    syllables = np.sin(np.arange(2 * 16000) * 2 * np.pi * 4 / 16000).clip(0)
    wave = (0.3 * syllables * rng.uniform(-1, 1, len(syllables))).astype(np.float32)
    source = Coefficients.from_joined(BUILTIN, np.zeros((1, BUILTIN.size), np.float32))
    track = EmotionTrack.constant("neutral", 1)
    clip = _lips.Clip("a", "a", wave, np.zeros((50, 2)), source, [], track)
    ours = _lips.made_lips(networks, clip)
    wanted = ours.mean(0) + (ours - ours.mean(0)) * 1.2
    clip = _lips.Clip("a", "a", wave, wanted, source, [], track)
    before = networks.motion_model.expnet.amplitude.detach().clone()
    np.testing.assert_array_equal(fit_gains(networks, {"a": [clip]}, 1), np.ones(2))
    assert torch.equal(networks.motion_model.expnet.amplitude, before)
    gains = fit_gains(networks, {"a": [clip]}, 4)
    ratio = _lips.made_lips(networks, clip).std(axis=0) / wanted.std(axis=0)
    assert (np.abs(ratio - 1.0) < 0.08).all() and gains[0] > 1.05
    after = networks.motion_model.expnet.amplitude.detach()
    brows = [name.startswith(("AU1_", "AU2_", "AU4")) for name in networks.layout.exp_names]
    assert any(brows) and torch.equal(after[torch.tensor(brows)], before[torch.tensor(brows)])
    write(SHIPPED_WEIGHTS["mel"], tmp_path, networks, gains)
    meta = read_network(tmp_path / "heads.safetensors", "heads", "x").meta
    assert json.dumps(meta["provenance"]["gains"]) == json.dumps([round(g, 4) for g in gains])
    load_audio_to_motion(tmp_path)
