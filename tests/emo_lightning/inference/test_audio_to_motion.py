"""Audio to coefficients: in pieces or whole, repeatable, and still in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.core.errors import MismatchError
from emo_lightning.face.coefficients import BFM, BUILTIN, Coefficients, Layout
from emo_lightning.inference.audio_to_motion import AudioToMotion
from emo_lightning.models.decoupler.decoupler import MEL_SILENCE, AudioDecoupler, DecouplerConfig
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.motion.emotion_track import EmotionKey, EmotionTrack

TRACK = EmotionTrack((EmotionKey(0.0, 5, 9.0), EmotionKey(2.0, 6, 14.0)))


def portrait(layout: Layout = BUILTIN) -> Coefficients:
    rng = np.random.default_rng(1)
    return Coefficients(
        layout,
        {
            b: 0.1 * rng.standard_normal((1, layout.width(b))).astype(np.float32)
            for b in layout.blocks
        },
    )


def build(layout: Layout = BUILTIN, wiring: str = "default") -> AudioToMotion:
    torch.manual_seed(0)
    decoupler = AudioDecoupler(DecouplerConfig())
    heads = MotionModel(
        MotionModelConfig(wiring=wiring), layout, decoupler.config.content, prototype_table(layout)
    )
    return AudioToMotion(decoupler, heads)


@pytest.fixture(scope="module")
def talker() -> AudioToMotion:
    return build()


def speech(frames: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((4 * frames, 80)) - 6.0).astype(np.float32)


def joined(pieces: object) -> np.ndarray:
    return np.concatenate([piece.joined() for piece in pieces])


def test_pieces_of_any_length_give_exactly_the_whole(talker: AudioToMotion) -> None:
    mel = speech(211)
    whole = joined(talker.generate([mel], portrait(), TRACK, seed=3))
    cuts = [np.split(mel, [1, 7, 400, 401, 800]), np.split(mel, range(13, len(mel), 13))]
    assert whole.shape == (211, BUILTIN.size)
    for pieces in cuts:
        assert np.array_equal(joined(talker.generate(pieces, portrait(), TRACK, seed=3)), whole)


def test_first_frames_come_before_the_audio_ends(talker: AudioToMotion) -> None:
    consumed = 0

    def arriving() -> object:
        nonlocal consumed
        for block in np.split(speech(500), 500):
            consumed += 1
            yield block

    next(iter(talker.generate(arriving(), portrait(), TRACK)))
    assert consumed <= talker.latency * 25 + 1 < 500


def test_another_block_changes_the_wait_and_nothing_else() -> None:
    talker, mel = build(), speech(103)
    eight, waited = joined(talker.generate([mel], portrait(), TRACK, seed=3)), talker.latency
    talker.block = 4
    assert talker.latency == pytest.approx(waited - 0.16)
    np.testing.assert_allclose(
        joined(talker.generate([mel], portrait(), TRACK, seed=3)), eight, atol=2e-5
    )
    talker.block = 6
    with pytest.raises(ValueError, match="multiple"):
        next(talker.generate([mel], portrait(), TRACK))


def test_blocks_equal_the_networks_on_the_whole_clip(talker: AudioToMotion) -> None:
    mel = torch.from_numpy(speech(90))[None]
    reach = talker.motion_model.reach
    pad = (0, 0, 4 * reach.past, 4 * reach.future)
    content = talker.decoupler(torch.nn.functional.pad(mel, pad, value=MEL_SILENCE)).content
    control = talker.motion_model.matrix(torch.tensor([5]), torch.tensor([9.0])).expand(90, -1)[
        None
    ]
    source = torch.from_numpy(portrait().joined())
    with torch.no_grad():
        exp = talker.motion_model(content, source, control).exp[0].clamp(0.0, 1.2).numpy()
    talker.voice_gate = False
    streamed = joined(
        talker.generate([mel[0].numpy()], portrait(), EmotionTrack.constant("happy", 9.0))
    )
    talker.voice_gate = True
    lids = [i for i, name in enumerate(BUILTIN.exp_names) if name.startswith("AU45")]
    np.testing.assert_allclose(
        np.delete(streamed[:, BUILTIN.slice("exp")], lids, 1), np.delete(exp, lids, 1), atol=2e-5
    )


def test_seed_repeats_and_differs(talker: AudioToMotion) -> None:
    mel = speech(150)
    one, again, other = (
        joined(talker.generate([mel], portrait(), TRACK, seed=s)) for s in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    angle = BUILTIN.slice("angle")
    assert np.abs(one[:, angle] - other[:, angle]).max() > 1e-4


def test_no_head_motion_keeps_the_pose(talker: AudioToMotion) -> None:
    out = joined(talker.generate([speech(80)], portrait(), TRACK, head_motion=False))
    for block in ("angle", "trans"):
        assert np.array_equal(
            out[:, BUILTIN.slice(block)], np.repeat(portrait()[block], 80, axis=0)
        )


def test_head_motion_starts_from_rest_and_never_drifts() -> None:
    talker = build()
    talker.block = 120
    out = joined(talker.generate([speech(15000)], portrait(), TRACK, seed=5))
    delta = out[:, BUILTIN.slice("angle")] - portrait()["angle"]
    assert np.abs(delta[0]).max() < 1e-6
    minutes = delta[: len(delta) // 1500 * 1500].reshape(-1, 1500, 3).mean(1)
    assert np.abs(minutes - minutes.mean(0)).max() < 0.05
    assert np.abs(np.polyfit(np.arange(len(minutes)), minutes, 1)[0]).max() < 0.004
    assert np.abs(delta).max() <= 0.31
    assert np.abs(np.diff(delta, axis=0)).max() < 0.1


def test_silence_holds_the_mouth_still(talker: AudioToMotion) -> None:
    silence = np.full((400, 80), MEL_SILENCE, np.float32)
    out = joined(talker.generate([silence], portrait(), EmotionTrack.constant("neutral", 1.0)))
    lids = [i for i, name in enumerate(BUILTIN.exp_names) if name.startswith("AU45")]
    mouth = np.delete(out[:, BUILTIN.slice("exp")], lids, axis=1)
    assert np.abs(mouth - mouth[:1]).max() < 1e-6
    assert out[:, BUILTIN.slice("exp")][:, lids].max() > 0.8, "eyes still blink"


def test_total_frames_trims_and_pads(talker: AudioToMotion) -> None:
    for frames in (10, 64, 200):
        out = joined(talker.generate([speech(100)], portrait(), TRACK, total_frames=frames))
        assert len(out) == frames
    assert len(joined(talker.generate([speech(1)], portrait(), TRACK))) == 1


def test_higher_level_moves_the_emotion_further(talker: AudioToMotion) -> None:
    smile = BUILTIN.slice("exp").start + BUILTIN.exp_names.index("AU12_L")
    tracks = [EmotionTrack.constant("happy", level) for level in (1, 5, 10, 15)]
    means = [
        joined(talker.generate([speech(60)], portrait(), track))[:, smile].mean()
        for track in tracks
    ]
    assert np.all(np.diff(means) > 0.1)


def test_figure_wiring_and_bfm_layout_run() -> None:
    assert len(joined(build(wiring="figure").generate([speech(40)], portrait(), TRACK))) == 40
    assert joined(build(BFM).generate([speech(40)], portrait(BFM), TRACK)).shape == (40, BFM.size)


def test_another_layout_is_refused(talker: AudioToMotion) -> None:
    with pytest.raises(MismatchError, match="layout"):
        next(talker.generate([speech(4)], portrait(BFM), TRACK))
