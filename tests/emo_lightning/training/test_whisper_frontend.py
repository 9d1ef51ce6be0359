"""Through Whisper's front end: taught shards train both stages, the talker hears a stream, the
checkpoint holds none of Whisper."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.shards.add_whisper_features import add_whisper_features
from emo_lightning.core.assets import list_assets
from emo_lightning.core.errors import UserError
from emo_lightning.face.coefficients import Coefficients
from emo_lightning.inference import audio_frontends as ears
from emo_lightning.inference.weights import SHIPPED_WEIGHTS, load_audio_to_motion
from emo_lightning.media.loudness import levelled
from emo_lightning.media.spectrogram import MEL_KINDS, log_mel
from emo_lightning.models.checkpoint_io import read_network
from emo_lightning.models.decoupler.audio_frontend import WhisperFrontend
from emo_lightning.models.decoupler.whisper import WhisperEncoder
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.training.config import load_config
from emo_lightning.training.train import train

QUICK = ["size=debug", "trainer.max_steps=4", "trainer.val_every=2", "wandb.mode=disabled"]


@pytest.fixture(scope="module")
def ear() -> WhisperFrontend:
    """An ear of Whisper's sizes with weights of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WhisperFrontend(WhisperEncoder(), MEL_KINDS["whisper"].quiet)


@pytest.fixture(scope="module")
def taught(shards: Path, ear: WhisperFrontend, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("taught") / "set"
    add_whisper_features(
        shards,
        out,
        lambda wave: ear.features(log_mel(levelled(wave), ear.kind)),
        {"network": "drawn weights"},
    )
    return out


def run(repository: Path, stage: int | str, *words: object) -> Path:
    return train(
        load_config(repository / "experiments" / f"stage{stage}.yaml", [*QUICK, *map(str, words)])
    )


def test_both_stages_train_and_the_talker_streams(
    repository: Path,
    taught: Path,
    ear: WhisperFrontend,
    portrait: Coefficients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoupler = run(repository, "1_whisper", f"data={taught}", f"out={tmp_path}/1")
    heads = run(repository, 2, f"data={taught}", f"out={tmp_path}/2", f"decoupler={decoupler}")
    network = read_network(decoupler, "decoupler", "x")
    assert network.meta["model"]["front_end"] == "whisper"
    assert (
        sum(value.numel() for value in network.state.values()) < 400_000
    )  # Whisper's 8 million are not among them
    for path in (decoupler, heads):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(ears, "load_whisper", lambda: ear.encoder)
    talker = load_audio_to_motion(tmp_path)
    assert talker.mel_kind == "whisper"
    rng = np.random.default_rng(0)
    rows = log_mel((0.1 * rng.standard_normal(640 * 150)).astype(np.float32), talker.mel_kind)
    track = EmotionTrack.constant("happy", 9)
    whole = np.concatenate([piece.joined() for piece in talker.generate([rows], portrait, track)])
    cuts = np.split(rows, np.sort(rng.integers(0, len(rows), 9)))
    parts = np.concatenate([piece.joined() for piece in talker.generate(cuts, portrait, track)])
    assert whole.shape[0] == 150 and np.isfinite(whole).all()
    np.testing.assert_array_equal(parts, whole)
    with pytest.raises(UserError, match="level-from-voice"):
        next(talker.generate([rows], portrait, track, level_from_voice=2.0))


def test_the_mel_network_learns_from_the_teacher(
    repository: Path, taught: Path, shards: Path, tmp_path: Path
) -> None:
    def loss(words: list[str]) -> float:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        run(repository, 1, f"data={taught}", f"out={out}", "loss.distil=1", *words)
        rows = [row.split(",") for row in (out / "metrics.csv").read_text().splitlines()]
        return [float(row[2]) for row in rows if row[1] == "val/distil"][-1]

    assert (
        loss(["trainer.max_steps=60", "trainer.val_every=60"])
        < loss(["trainer.max_steps=1", "trainer.val_every=1"]) - 0.1
    )
    with pytest.raises(UserError, match="emo shards add-whisper"):
        run(repository, 1, f"data={shards}", f"out={tmp_path}/none", "loss.distil=1")


def test_the_shipped_networks_that_hear_through_whisper_make_faces(portrait: Coefficients) -> None:
    if not any(
        status.path is not None
        for status in list_assets()
        if status.asset.name.startswith("whisper")
    ):
        pytest.skip("Whisper's weights are not installed (extra `whisper`)")
    talker = load_audio_to_motion(SHIPPED_WEIGHTS["whisper"])
    wave = np.random.default_rng(0).normal(0.0, 0.05, 32_000).astype(np.float32)
    made = list(
        talker.generate(
            [log_mel(wave, talker.mel_kind)],
            portrait,
            EmotionTrack.constant("happy", 8),
            head_motion=False,
        )
    )
    exp = np.concatenate([piece["exp"] for piece in made])
    assert exp.shape == (50, 28)
    assert np.isfinite(exp).all()
    assert exp[:, 10].mean() > 0.1  # AU12: the smile that was asked for
