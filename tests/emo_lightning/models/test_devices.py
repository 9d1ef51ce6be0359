"""Networks and losses stay on one device, never wait for it, and keep geometry in float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from emo_lightning.face.coefficients import BUILTIN
from emo_lightning.losses.contrastive import au_contrast, emotion_units
from emo_lightning.losses.distillation import FeatureDistillation
from emo_lightning.losses.domain_adversarial import LabelProbes, reverse_gradient
from emo_lightning.losses.gan import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.losses.keypoint import equivariance, keypoint_prior, random_affine, warp_affine
from emo_lightning.losses.lips import brief_closures, closure_loss, lip_distance, lip_table
from emo_lightning.losses.masked import (
    articulation,
    known_levels,
    masked_mean,
    smooth_l1,
    spread,
    velocity,
)
from emo_lightning.losses.motion import (
    even_response,
    kl_divergence,
    mean_distance,
    spectrum_distance,
    walk_likelihood,
)
from emo_lightning.models.decoupler.decoupler import AudioDecoupler, DecouplerConfig
from emo_lightning.models.decoupler.whisper import WhisperEncoder, WhisperSize
from emo_lightning.models.layers.convolution import conv
from emo_lightning.models.motion.emotion_matrix import prototype_table
from emo_lightning.models.motion.motion_model import MotionModel, MotionModelConfig
from emo_lightning.models.renderer.discriminator import MultiScaleDiscriminator
from emo_lightning.models.renderer.face_renderer import FaceRenderer, RendererConfig
from emo_lightning.models.renderer.refiner import Refiner, RefinerConfig, condition_size

RENDERER = {
    "image_size": 32,
    "keypoints": 3,
    "depth": 2,
    "channels": 4,
    "width": 8,
    "max_width": 16,
    "levels": 2,
    "mapping_width": 16,
}
Case = tuple[nn.Module, Callable[[nn.Module, torch.device], Tensor]]


class OneDevice(TorchDispatchMode):
    """Fails on operators that mix devices, copy constants to the device, or wait for it."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        devices = {t.device.type for t in tensors if t.dim()}
        here = self.device in {t.device.type for t in tensors}
        assert len(devices) < 2, f"{name} mixes {sorted(devices)}"
        assert not (here and name.split(".")[0] in self.WAITS), f"{name} waits for the device"
        masks = name.startswith("index") and any(t.dtype == torch.bool for t in tensors[1:])
        assert not (here and masks), f"{name} by a mask waits for the device"
        if name.startswith("_to_copy") and devices:
            target = torch.device(kwargs.get("device") or next(iter(devices)))
            assert target.type in devices, f"{name} copies from {sorted(devices)} to {target}"
        return func(*args, **kwargs)


def mean_of(outputs: Any) -> Tensor:
    """Scalar that depends on every differentiable output."""
    leaves = [t for t in tree_leaves(outputs) if isinstance(t, Tensor) and t.requires_grad]
    return torch.stack([t.float().mean() for t in leaves]).sum()


def decoupler(front_end: str) -> Case:
    config = DecouplerConfig(
        front_end=front_end,
        width=16,
        front_width=8,
        content=12,
        causal_norm_frames=5,
        leace=True,
        binarize=True,
    )

    def run(net: AudioDecoupler, device: torch.device) -> Tensor:
        shape = (2, 10 * net.front_end.per_frame, net.front_end.width)
        features = torch.randn(shape, device=device)
        labels = torch.zeros(2, 10, dtype=torch.int64, device=device)
        out = net(features)
        net.leace.add_moments(net.leace.batch_moments(out.content, labels, labels == 0))
        return mean_of((out, net.disentangle(out.content)))

    return AudioDecoupler(config), run


def whisper() -> Case:
    encoder = WhisperEncoder(WhisperSize(width=16, heads=2, layers=1))
    return encoder, lambda net, device: mean_of(net(torch.randn(2, 20, 80, device=device)))


def motion(wiring: str) -> Case:
    table = prototype_table(BUILTIN)

    def run(net: MotionModel, device: torch.device) -> Tensor:
        batch, frames = 2, net.posenet.window
        emotions = torch.zeros(batch, dtype=torch.int64, device=device)
        control = net.matrix(emotions, torch.ones(batch, device=device))
        control = control[:, None].expand(-1, frames, -1)
        content = torch.randn(batch, frames + net.reach.total, 12, device=device)
        source = torch.randn(batch, BUILTIN.size, device=device)
        out = net(content, source, control)
        pose = net.posenet.to_units(*torch.randn(2, batch, frames, 3, device=device))
        slow, quick = net.posenet.split_paces(pose)
        noise = torch.randn(batch, frames // 4 + 1, net.posenet.latent, device=device)
        made = net.posenet(pose, out.condition, noise)
        root = net.posenet.posture_root(control[:, 0])
        parts = (
            kl_divergence(made.mean, made.log_variance),
            spectrum_distance(torch.stack([made.quick] * 2), pose[:, 12:]),
            mean_distance(torch.stack([made.quick] * 2), pose[:, 12:]),
            walk_likelihood(slow[:, 0], root, 1.0),
            quick.mean(),
        )
        return mean_of((out, parts, net.posenet.bearing(control)))

    small = MotionModelConfig(wiring=wiring, exp_width=16, exp_blocks=1, emo_width=16)
    return MotionModel(small, BUILTIN, 12, table), run


def renderer(**options: Any) -> Case:
    def run(net: FaceRenderer, device: torch.device) -> Tensor:
        image = torch.rand(2, 3, net.output_size, net.output_size, device=device)
        windows = 0.1 * torch.randn(2, 2, 27, BUILTIN.size, device=device)
        source, rendering = net(image, windows[0], windows[1])
        flows = [f for f in (rendering.flow.grid, rendering.flow.surface) if f is not None]
        points = (rendering.keypoints, rendering.motion.angle, source.canonical, *flows)
        assert all(t.dtype == torch.float32 for t in points), "geometry in half precision"
        extra: tuple[Tensor, ...] = ()
        if net.mesh is not None:
            weights = net.mesh.roi_weights(rendering.mesh_points, rendering.motion, 16)
            centres = [net.mesh.region_centre(rendering.mesh_points, e) for e in (False, True)]
            extra = (weights, *centres)
        theta = random_affine(torch.randn(2, 6, device=device))
        warped = net.detector(warp_affine(net.at_own_size(image), theta))
        losses = (
            keypoint_prior(source.canonical),
            equivariance(rendering.keypoints, warped, theta),
        )
        return mean_of((source, rendering, losses, extra))

    return FaceRenderer(RendererConfig(**RENDERER, **options), BUILTIN), run


def discriminator() -> Case:
    def run(net: MultiScaleDiscriminator, device: torch.device) -> Tensor:
        real, fake = (net(torch.rand(2, 3, 32, 32, device=device)) for _ in range(2))
        parts = (discriminator_hinge, feature_matching)
        return sum(part(real, fake) for part in parts) + generator_hinge(fake)

    return MultiScaleDiscriminator(8, 2, 2), run


def refiner() -> Case:
    def run(net: Refiner, device: torch.device) -> Tensor:
        def rand(*shape: int) -> Tensor:
            return torch.rand(shape, device=device)

        prepared = net.prepare(rand(1, 6, 16, 16))
        condition = rand(2, condition_size(BUILTIN))
        flow, moving = rand(2, 16, 16, 2), rand(2, 6, 16, 16)
        return mean_of(net(rand(2, 3, 32, 32), prepared, flow, moving, condition))

    return Refiner(RefinerConfig(width=8, blocks=1, inner_mouth=False), BUILTIN), run


class AllLosses(nn.Module):
    """Losses of clips, with the buffers that training holds."""

    def __init__(self) -> None:
        super().__init__()
        self.probes, self.student = LabelProbes(12, 8), FeatureDistillation(12)
        self.enter = nn.Linear(12, 12)
        for name, value in (
            ("units", emotion_units()),
            ("prototypes", prototype_table(BUILTIN)),
            ("lips", lip_table(BUILTIN)),
        ):
            self.register_buffer(name, value)

    def forward(self, device: torch.device) -> Tensor:
        def rand(*shape: int) -> Tensor:
            return torch.rand(shape, device=device)

        x, units = self.enter(rand(3, 10, 12)), len(BUILTIN.exp_names)
        mask = torch.ones(3, 10, dtype=torch.bool, device=device)
        label = torch.ones(3, dtype=torch.int64, device=device)
        exp = x[..., :1] * rand(3, 10, units)
        level = known_levels(rand(3), label, label, False)
        target = articulation(rand(3, 10, units), label, level, self.prototypes)
        au = x[..., :1].expand(-1, -1, 17)
        return mean_of(
            (
                self.probes(reverse_gradient(x, 0.5), label, mask),
                self.student(x, rand(3, 20, 384), mask),
                au_contrast(au, au, rand(3, 10, 17), mask, self.units),
                smooth_l1(exp, target, mask),
                velocity(exp, target, mask),
                spread(exp, target, mask),
                masked_mean(exp, mask),
                lip_distance(exp @ self.lips, target @ self.lips, mask),
                closure_loss(x[..., :1], brief_closures((target @ self.lips)[..., 0], mask), mask),
                even_response(exp.mean() * rand(8, 15, units), self.prototypes),
            )
        )


CASES: dict[str, Callable[[], Case]] = {
    "decoupler": lambda: decoupler("mel"),
    "decoupler on Whisper": lambda: decoupler("whisper"),
    "Whisper": whisper,
    "motion": lambda: motion("default"),
    "motion, figure": lambda: motion("figure"),
    "renderer": renderer,
    "renderer, published": lambda: renderer(bins=66, skip=False),
    "renderer, mesh": lambda: renderer(mesh_keypoints=30, flow_resolution=16, output_scale=2),
    "discriminator": discriminator,
    "refiner": refiner,
    "losses": lambda: (AllLosses(), lambda net, device: net(device)),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", CASES)
def test_no_operator_mixes_devices_or_waits(name: str, training: bool) -> None:
    """On the meta device a constant that a forward makes on the CPU is on another device."""
    net, run = CASES[name]()
    net = net.to("meta").train(training)
    with OneDevice("meta"):
        run(net, torch.device("meta")).backward()


@pytest.mark.parametrize("name", CASES)
def test_bfloat16_autocast_runs_forwards_and_backwards(name: str) -> None:
    torch.manual_seed(0)
    net, run = CASES[name]()
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(net, torch.device("cpu"))
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    assert bool(loss.isfinite()) and gradients
    assert all(bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_fake_tensors_run_forwards_on_the_accelerator(name: str, dtype: torch.dtype) -> None:
    """CUDA's rules of devices and types without a GPU, where PyTorch has a CUDA build."""
    device = "cuda" if torch.version.cuda else "cpu"
    with FakeTensorMode():
        with torch.device(device):
            net, run = CASES[name]()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = run(net, torch.device(device))
    assert loss.device.type == device


def test_the_gradient_of_a_flat_volume_is_right_in_bfloat16() -> None:
    """oneDNN's weight gradient of a bfloat16 Conv3d is wrong, or not a number, on a CPU."""
    torch.manual_seed(0)
    layer, x = conv(3, 5, 16), torch.randn(2, 5, 1, 8, 8)
    gradients = []
    for enabled in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            layer(x).float().square().mean().backward()
        gradients.append(layer.weight.grad.clone())
    assert torch.allclose(*gradients, atol=0.02 * float(gradients[0].abs().max()))


@pytest.mark.parametrize(
    ("planted", "message"),
    [
        (lambda x: x + torch.zeros(3), "mixes"),
        (lambda x: torch.cat([x, torch.zeros(1, 3)]), "mixes"),
        (lambda x: x * torch.tensor([1.0, 2.0, 3.0]).to(x), "copies"),
        (lambda x: x if x.sum() > 0 else -x, "waits"),
        (lambda x: x[x > 0], "waits"),
    ],
    ids=["zeros", "cat", "constant", "branch", "index"],
)
def test_a_planted_fault_is_found(planted: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(AssertionError, match=message), OneDevice("meta"):
        planted(torch.rand(2, 3, device="meta"))
