"""Milliseconds of every loss of the three stages, forward and backward to what the networks gave, and its share of the step.

  python -m benchmarks loss [debug|cpu|paper]

Losses are timed apart from the networks that they judge. Networks that run for a loss's sake alone have rows of their own,
in brackets. Fresh weights, random batches; the perceptual loss is the one that needs no trained network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.training import EXPERIMENTS, batch, build, loss
from emo_lightning.losses.contrast import au_contrast
from emo_lightning.losses.domain_adversarial import reverse_gradient
from emo_lightning.losses.gan import discriminator_hinge, feature_matching, generator_hinge
from emo_lightning.losses.keypoint import (
    deformation,
    equivariance,
    head_pose,
    keypoint_prior,
    random_affine,
    warp_affine,
)
from emo_lightning.losses.masked import (
    articulation,
    known_levels,
    masked_mean,
    smooth_l1,
    spread,
    velocity,
)
from emo_lightning.losses.motion import (
    bearing_distance,
    kl_divergence,
    mean_distance,
    spectrum_distance,
    walk_likelihood,
)
from emo_lightning.models.motion.posenet import SMOOTH, STEP
from emo_lightning.models.renderer.mapping_net import WINDOW
from emo_lightning.training.base import StageModule
from emo_lightning.training.config import load_config
from emo_lightning.training.decoupler import DecouplerModule, phone_loss
from emo_lightning.training.motion import DRAWN, MotionModule
from emo_lightning.training.renderer import RendererModule

ROUNDS = 7
Batch = dict[str, Tensor]
Jobs = dict[str, Callable[[], Tensor]]


def main(arguments: list[str]) -> None:
    """Print the table for a size, ``cpu`` by default."""
    size = arguments[0] if arguments else "cpu"
    print(f"one thread, best of {ROUNDS}, size {size}\n")
    print(
        "| stage | loss | forward, ms | backward, ms | share of the step, % |\n|---|---|---|---|---|"
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for number in (1, 2, 3):
        config = load_config(
            EXPERIMENTS / f"stage{number}.yaml",
            [f"size={size}", "data=-", *(["decoupler=-"] if number == 2 else [])],
        )
        stage, example = build(config), batch(config)
        table(stage, jobs(stage, example), partial(loss, stage, example, config))
    torch.set_num_threads(threads)


def table(stage: StageModule, work: Jobs, step: Callable[[], Tensor]) -> None:
    """Print the stage's rows; ``step`` gives the whole loss, networks and all, in stage 3 without the discriminator's own turn."""
    all_forward, all_backward = cost(step)
    whole = all_forward + all_backward
    for name, job in work.items():
        forward, backward = cost(job)
        print(
            f"| {stage.number} | {name} | {forward:.2f} | {backward:.2f} | {100 * (forward + backward) / whole:.1f} |",
            flush=True,
        )
    print(
        f"| {stage.number} | the whole step, less the update | {all_forward:.2f} | {all_backward:.2f} | 100.0 |",
        flush=True,
    )


def cost(job: Callable[[], Tensor]) -> tuple[float, float]:
    """Milliseconds forward and backward, each the best of several."""
    forward, backward = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        value = job()
        forward.append(time.perf_counter() - start)
        start = time.perf_counter()
        if value.requires_grad:  # a target has none
            value.backward()
        backward.append(time.perf_counter() - start)
    return 1e3 * min(forward), 1e3 * min(backward)


def jobs(stage: StageModule, example: Batch) -> Jobs:
    """The stage's losses in its own order, each on leaves, then the bracketed rows; KeyError names a loss that has no row here."""
    stage._generator = torch.Generator().manual_seed(0)
    if isinstance(stage, RendererModule):
        source, made = stage.render(example)
        known, own = _renderer(stage, example), stage.parts(example, source, made, adversarial=True)
    elif isinstance(stage, MotionModule):
        known, own = _heads(stage, example), stage.parts(example, shuffle=True)[0]
    else:
        assert isinstance(stage, DecouplerModule)
        known, own = _decoupler(stage, example), stage.parts(example)[0]
    return {name: known[name] for name in own} | {
        name: job for name, job in known.items() if name.startswith("(")
    }


def _leaf(value: Tensor) -> Tensor:
    """A network's output as a place where the backward pass ends."""
    return value.detach().requires_grad_()


def _targets(stage: DecouplerModule | MotionModule, example: Batch) -> Tensor:
    level = known_levels(
        example["level"], example["intensity"], example["emotion"], use_levels=True
    )
    return articulation(example["exp"], example["emotion"], level, stage.prototypes)


def _decoupler(stage: DecouplerModule, example: Batch) -> Jobs:
    out = stage.decoupler(example["mel"])
    low, high, content, deep = (
        _leaf(out.au_low),
        _leaf(out.au_high),
        _leaf(out.content),
        _leaf(out.low),
    )
    said, target, logits = (
        _leaf(stage.speech_readout(out.content)),
        _targets(stage, example),
        _leaf(stage.phone_readout(out.content)),
    )
    mask, emotion, moved = stage.mask(example), example["emotion"], stage.moved
    grade = example["intensity"].clamp_min(0)
    return {
        "contrast": lambda: au_contrast(
            low, high, example["au"], mask, stage.units, stage.loss.temperature
        ),
        "au": lambda: smooth_l1(low, example["au"], mask),
        "speech": lambda: smooth_l1(said, target, mask, weights=stage.spoken),
        "speech_velocity": lambda: velocity(said * moved, target * moved, mask),
        "phone": lambda: phone_loss(logits, example["phone"], mask),
        "feeling": lambda: (
            stage.low_readers(deep, emotion, mask)
            + 0.5 * stage.intensity_readers(deep, grade, mask)
        ),
        "adversary": lambda: stage.content_readers(
            reverse_gradient(content, stage.loss.adversary), emotion, mask
        ),
        "(the articulation to hit)": lambda: _targets(stage, example),
    }


def _heads(stage: MotionModule, example: Batch) -> Jobs:
    out = stage.parts(example, shuffle=False)[1]
    exp, ident, tex, speech, gain = (
        _leaf(out.exp),
        _leaf(out.id),
        _leaf(out.tex),
        _leaf(out.speech),
        stage.heads.expnet.amplitude,
    )
    mask, voiced, said = stage.mask(example), stage.voiced, _targets(stage, example)
    shape, moved = (speech / gain).detach(), out._replace(exp=exp, closure=_leaf(out.closure))
    return {
        "exp": lambda: smooth_l1(exp, example["exp"], mask, weights=voiced),
        "exp_velocity": lambda: velocity(exp * voiced, example["exp"] * voiced, mask),
        "identity": lambda: masked_mean((ident - example["id"]).abs(), mask),
        "texture": lambda: masked_mean((tex - example["tex"]).abs(), mask),
        "levels_even": stage.evenness,
        "speech": lambda: smooth_l1(speech, said, mask, weights=voiced),
        "amplitude": lambda: spread(shape * gain * voiced, said * voiced, mask),
        "lips": lambda: stage._lips(moved, example, mask)["lips"],
        "closure": lambda: stage._lips(moved, example, mask)["closure"],
        **_pose(stage, example, out.condition.detach()),
        "(the articulation to hit)": lambda: _targets(stage, example),
    }


def _pose(stage: MotionModule, example: Batch, condition: Tensor) -> Jobs:
    net = stage.heads.posenet
    part = slice(0, net.window)
    real, given = (
        net.to_units(example["angle"][:, part], example["trans"][:, part]),
        condition[:, part],
    )
    quick = net.part(real)[1][:, net.reach.past - SMOOTH :]
    shape = (net.window // STEP + 1, net.latent)
    made = net(real, given, stage.draw(len(real), *shape))
    seen, mean, log_variance = (
        _leaf(made.quick[:, : quick.shape[1]]),
        _leaf(made.mean),
        _leaf(made.log_variance),
    )
    noise, often = stage.draw(DRAWN * len(real), *shape), given.repeat(DRAWN, 1, 1)
    drawn = _leaf(net.decode(noise, often).unflatten(0, (DRAWN, len(real)))[:, :, : quick.shape[1]])
    moved, control = quick[:, -1] - quick[:, 0], given[:, :, -net.control :].mean(dim=1)
    return {
        "pose": lambda: F.smooth_l1_loss(seen, quick),
        "kl": lambda: kl_divergence(mean, log_variance),
        "spectrum": lambda: spectrum_distance(drawn, quick),
        "beat": lambda: mean_distance(drawn, quick),
        "posture": lambda: walk_likelihood(moved, net.spread(control), 1.0),
        "bearing": lambda: bearing_distance(net.bearing(control), real.mean(dim=1)),
        "(PoseNet on drawn motion, for spectrum and beat)": lambda: net.decode(noise, often).sum(),
    }


def _renderer(stage: RendererModule, example: Batch) -> Jobs:
    source, made = stage.render(example)
    real, image, points = example["driving_image"], _leaf(made.image), _leaf(made.keypoints)
    canonical, angle, delta = (
        _leaf(source.canonical),
        _leaf(made.motion.angle),
        _leaf(made.motion.delta),
    )
    theta = random_affine(stage.draw(len(real), 6))
    small = stage.renderer.at_own_size(real)
    found, warped = (
        _leaf(stage.renderer.detector(small)),
        _leaf(stage.renderer.detector(warp_affine(small, theta))),
    )
    head = example["driving_coeffs"][:, WINDOW // 2, stage.context.layout.slice("angle")]
    return {
        "perceptual": lambda: stage.unlikeness(image, real, made),
        "pixel": lambda: stage.pixel(image, real, made),
        "equivariance": lambda: equivariance(found, warped, theta),
        "keypoint_prior": lambda: keypoint_prior(canonical),
        "head_pose": lambda: head_pose(angle, head),
        "deformation": lambda: deformation(delta),
        "agreement": lambda: (points - found).abs().mean(),
        **({} if made.paint is None else {"paint": _leaf(made.paint).mean}),
        **_adversarial(stage, *(stage.views(x, made)[-1].detach() for x in (real, image))),
        "(keypoints of the driving image, for equivariance and agreement)": lambda: (
            stage.renderer.detector(small).sum()
        ),
        "(keypoints of it warped, for equivariance)": lambda: stage.renderer.detector(
            warp_affine(small, theta)
        ).sum(),
    }


def _adversarial(stage: RendererModule, real: Tensor, image: Tensor) -> Jobs:
    judge = stage.discriminator
    fake, true = ([[_leaf(layer) for layer in scale] for scale in judge(x)] for x in (image, real))

    def both() -> Tensor:
        judge.requires_grad_(False)  # as in the generator's turn
        features = [layer for scale in judge(image) for layer in scale]
        judge(real)
        judge.requires_grad_(True)
        return torch.stack([layer.mean() for layer in features]).sum()

    return {
        "gan": lambda: generator_hinge(fake),
        "feature_matching": lambda: feature_matching(true, fake),
        "(discriminator in the generator's turn, for gan and feature_matching)": both,
        "(discriminator's own turn)": lambda: discriminator_hinge(
            judge(real), judge(image.detach())
        ),
    }
