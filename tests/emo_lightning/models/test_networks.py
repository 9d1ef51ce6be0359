"""Shapes, bounded reach, and what each network must do before any training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emo_lightning.face import pose
from emo_lightning.face.coefficients import BFM, BUILTIN
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.motion.emotion_matrix import EmotionMatrix, prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.models.motion.posenet import SMOOTH, PoseNet, PoseStream
from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.models.renderer.keypoint_detector import pose_points, rotation, unpose_points
from emo_lightning.models.renderer.mapping_net import KeypointMotion, MappingNet, expected_angle
from emo_lightning.motion.emotions import EMOTIONS

SMALL = RendererConfig(
    image_size=32,
    keypoints=5,
    depth=2,
    channels=4,
    width=8,
    max_width=16,
    levels=2,
    mapping_width=16,
)


@pytest.mark.parametrize(("window", "look_ahead"), [(1, 0), (5, 2), (9, 8)])
def test_audio_outside_the_receptive_field_changes_nothing(window: int, look_ahead: int) -> None:
    torch.manual_seed(0)
    net = AudioDecoupler(
        DecouplerConfig(window=window, look_ahead=look_ahead, width=16, front_width=8)
    )
    mel = torch.randn(1, 200, 80)
    frame, reach = 25, net.reach
    changed = mel.clone()
    changed[:, : 4 * (frame - reach.past)] += 5
    changed[:, 4 * (frame + reach.future + 1) :] += 5
    one, other = net(mel), net(changed)
    assert one.low.shape == (1, 50, 16) and one.au_high.shape == (1, 50, 17)
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a[:, frame], b[:, frame])
    changed[:, 4 * (frame + look_ahead)] += 5
    assert not torch.equal(net(changed).low[:, frame], one.low[:, frame])


def test_causal_norm_removes_constants_and_streams() -> None:
    torch.manual_seed(0)
    net = AudioDecoupler(
        DecouplerConfig(window=3, look_ahead=1, width=16, front_width=8, causal_norm_frames=10)
    ).eval()
    mel = torch.randn(1, 400, 80) - 5.0
    whole, reach = net(mel), net.reach
    assert reach.past == net.local_reach.past + 10 and reach.future == net.local_reach.future
    first, count = 40, 20
    piece = mel[:, 4 * (first - reach.past) : 4 * (first + count + reach.future)]
    for a, b in zip(whole, net.features(piece), strict=True):
        assert torch.allclose(a[:, first : first + count], b, atol=1e-5)
    assert torch.equal(net.features(piece).content, net.content(piece))
    raw = net.local_content(mel[:, 4 * (first - reach.past) : 4 * (first + count + reach.future)])
    assert torch.allclose(
        net.disentangle(net.normalize(raw)), net.features(piece).content, atol=1e-6
    ), "a stream may keep the rows and normalise them later"
    rows = torch.randn(1, 60, net.config.content)
    with torch.no_grad():
        net.causal_norm.gate.weight.zero_()
        net.causal_norm.gate.bias.fill_(4.0)
    as_it_is, moved = net.causal_norm(rows), net.causal_norm(rows * 3.0 + 4.0)
    assert (moved - as_it_is).abs().mean() < 0.25 * (rows * 2.0 + 4.0).abs().mean()


def test_content_is_disentangled_in_inference_only() -> None:
    torch.manual_seed(0)
    net = AudioDecoupler(
        DecouplerConfig(
            width=16, front_width=8, content=12, causal_norm_frames=5, leace=True, binarize=True
        )
    )
    mel = torch.randn(2, 100, 80) - 5.0
    whole, clean = net.train()(mel).content, net.eval()(mel).content
    assert set(clean.unique().tolist()) == {-1.0, 1.0} and len(whole.unique()) > 100
    assert torch.equal(net.disentangle(whole), clean) and whole.shape == clean.shape == (2, 25, 12)


def test_one_au_decoder_serves_low_and_high() -> None:
    net = AudioDecoupler(DecouplerConfig())
    out = net(torch.randn(1, 40, 80))
    assert torch.equal(out.au_low, net.au_decoder(out.low)) and torch.equal(
        out.au_high, net.au_decoder(out.high)
    )


def test_a_closure_suppresses_emotion_earlier_than_speech() -> None:
    heads = MotionModel(MotionModelConfig(), BUILTIN, 64, prototype_table(BUILTIN))
    names = BUILTIN.exp_names
    felt = prototype_table(BUILTIN)[EMOTIONS.index("surprised")][None, None]
    jaw, brow = names.index("AU26"), names.index("AU1_L")
    kept = [
        heads.compose(felt * 0.0, felt, torch.full((1, 1, 1), c))[0, 0] / felt[0, 0]
        for c in (0.0, 0.15, 0.3)
    ]
    said = heads.compose(felt, felt * 0.0, torch.full((1, 1, 1), 0.15))[0, 0] / felt[0, 0]
    assert (
        kept[0][jaw] == 1.0
        and 0.2 < kept[1][jaw] < 0.8
        and kept[2][jaw] == 0.0
        and said[jaw] == 1.0
    )
    assert all(k[brow] == 1.0 for k in kept)


def test_a_matrix_that_is_not_refined_stays_as_it_starts() -> None:
    assert not [p for p in EmotionMatrix(refine=False).parameters() if p.requires_grad]
    heads = MotionModel(
        MotionModelConfig(refine_levels=False), BUILTIN, 64, prototype_table(BUILTIN)
    )
    assert (
        heads.state_dict().keys()
        == MotionModel(MotionModelConfig(), BUILTIN, 64, prototype_table(BUILTIN))
        .state_dict()
        .keys()
    )


def test_matrix_starts_on_the_line_between_annotated_levels() -> None:
    matrix = EmotionMatrix()
    happy = torch.full((4,), EMOTIONS.index("happy"))
    control = matrix(happy, torch.tensor([3.0, 8.0, 13.0, 10.5])).view(4, 8, 3)
    assert torch.allclose(
        control[:, 5], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0.5]])
    )
    assert control.abs().sum(dim=(0, 2)).nonzero().tolist() == [[5]], "other emotions' cells stay 0"
    neutral = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(*matrix(neutral, torch.tensor([1.0, 15.0])))


def test_response_starts_as_the_prototype_at_every_level() -> None:
    prototypes = prototype_table(BUILTIN)
    heads = MotionModel(MotionModelConfig(), BUILTIN, 64, prototypes)
    levels = torch.arange(1.0, 16.0)
    for emotion in range(8):
        response = heads.matrix(torch.full((15,), emotion), levels) @ heads.emonet.response
        assert torch.allclose(response, prototypes[emotion] * levels[:, None] / 15, atol=1e-5)


def test_closing_lips_win_over_the_emotion() -> None:
    heads = MotionModel(MotionModelConfig(), BUILTIN, 64, prototype_table(BUILTIN))
    surprised = prototype_table(BUILTIN)[7][None, None]
    shut = heads.compose(torch.zeros_like(surprised), surprised, torch.ones(1, 1, 1))[0, 0]
    names = BUILTIN.exp_names
    assert shut[names.index("AU26")] == 0 and shut[names.index("AU1_L")] == 1


@pytest.mark.parametrize("wiring", ["default", "figure"])
@pytest.mark.parametrize("layout", [BUILTIN, BFM], ids=lambda layout: layout.name)
def test_heads_shapes(wiring: str, layout: object) -> None:
    heads = MotionModel(MotionModelConfig(wiring=wiring), layout, 32, prototype_table(layout))
    frames = 12
    out = heads(
        torch.randn(2, frames + heads.reach.total, 32),
        torch.randn(2, layout.size),
        torch.randn(2, frames, 24),
    )
    assert (out.exp.shape, out.id.shape, out.tex.shape) == tuple(
        (2, frames, layout.width(b)) for b in ("exp", "id", "tex")
    )
    with pytest.raises(ValueError, match="wiring"):
        MotionModel(MotionModelConfig(wiring="loose"), layout, 32, prototype_table(layout))


def test_pose_stream_does_not_depend_on_how_it_is_cut() -> None:
    torch.manual_seed(0)
    net = PoseNet(12, 4, latent=4, width=16)
    condition, rest = torch.randn(103, 12), torch.zeros(4)
    whole = PoseStream(net, 3, rest)
    expected = torch.cat([whole.add(condition), whole.flush()])
    cut = PoseStream(net, 3, rest)
    pieces = [cut.add(part) for part in condition.split([1, 2, 30, 63, 7])]
    assert torch.equal(torch.cat([*pieces, cut.flush()]), expected) and len(expected) == 103
    assert expected[0].abs().max() == 0 and expected[50:].std() > 0.005
    short = PoseStream(net, 3, rest)
    assert len(torch.cat([short.add(condition[:1]), short.flush()])) == 1


def test_posture_and_quick_movements_add_up_and_are_parted_at_one_hertz() -> None:
    net = PoseNet(12, 4)
    time = torch.arange(200)[:, None] / 25
    pose = torch.cat(
        [torch.sin(2 * torch.pi * hertz * time) for hertz in (0.2, 0.2, 0.4, 3.0, 3.0, 4.0)], dim=1
    )[None]
    slow, quick = net.split_paces(pose)
    assert torch.allclose(slow + quick, pose[:, SMOOTH:-SMOOTH], atol=1e-5)
    assert float(quick[..., :3].std()) < 0.1 and float(slow[..., 3:].std()) < 0.1


def test_sampled_posture_keeps_its_size() -> None:
    net = PoseNet(12, 4, width=16)
    torch.nn.init.zeros_(net.to_pose.weight)
    torch.nn.init.zeros_(net.to_pose.bias)
    torch.nn.init.constant_(net.log_size.bias, 0.3)
    stream = PoseStream(net, 1, torch.zeros(4), step=100)
    pose = stream.add(torch.zeros(15000, 12)) / net.unit
    size = torch.exp(torch.tensor(0.3))
    for part in pose[1000:].split(4667):
        assert torch.allclose(part.std(dim=0), size.expand(6), rtol=0.35)
        assert part.mean(dim=0).abs().max() < 0.6 * size


def test_rotation_is_the_face_model_s() -> None:
    angle = torch.randn(6, 3)
    np.testing.assert_allclose(rotation(angle).numpy(), pose.rotation(angle.numpy()), atol=1e-6)


def test_unposing_undoes_posing() -> None:
    torch.manual_seed(0)
    motion = KeypointMotion(
        torch.randn(2, 3), torch.randn(2, 3) * 0.3, torch.randn(2, 5, 3) * 0.1, None
    )
    points = torch.randn(2, 5, 3)
    assert torch.allclose(unpose_points(pose_points(points, motion), motion), points, atol=1e-4)


def test_turning_the_head_moves_the_keypoints_as_the_axes_say() -> None:
    nose = torch.tensor([[[0.0, 0.0, -1.0]]])
    still = torch.zeros(1, 3)
    right = pose_points(
        nose, KeypointMotion(torch.tensor([[0.0, 0.3, 0.0]]), still, torch.zeros_like(nose), None)
    )
    down = pose_points(
        nose, KeypointMotion(torch.tensor([[0.3, 0.0, 0.0]]), still, torch.zeros_like(nose), None)
    )
    assert right[0, 0, 0] > 0.2 and down[0, 0, 1] > 0.2


def test_pose_bins_average_to_an_angle() -> None:
    logits = torch.full((1, 3, 66), -50.0)
    logits[:, :, 33] = 50.0
    assert torch.allclose(
        expected_angle(logits), torch.deg2rad(torch.tensor(1.5)).expand(1, 3), atol=1e-5
    )
    assert MappingNet(BFM, 5, 16, bins=66)(torch.randn(2, 27, BFM.size)).bins.shape == (2, 3, 66)


def test_renderer_trains_and_keeps_sizes() -> None:
    torch.manual_seed(0)
    net = FaceRenderer(SMALL, BUILTIN)
    image, one, two = (
        torch.rand(2, 3, 32, 32),
        0.1 * torch.randn(2, 27, BUILTIN.size),
        0.1 * torch.randn(2, 27, BUILTIN.size),
    )
    source, made = net(image, one, two)
    made.image.mean().backward()
    assert made.image.shape == image.shape and made.keypoints.shape == (2, 5, 3)
    assert all(p.grad is not None for p in net.parameters())
    _, same = net(image, one, one)
    assert torch.allclose(same.keypoints, source.keypoints, atol=1e-5)
    with pytest.raises(ValueError, match="divisible"):
        FaceRenderer(RendererConfig(image_size=100), BUILTIN)
