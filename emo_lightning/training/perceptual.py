"""Choice of the perceptual loss for both renderers of stage 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from emo_lightning.core.errors import UserError
from emo_lightning.losses.perceptual import FeatureLoss, PyramidLoss, VGGLoss
from emo_lightning.losses.perceptual_backbones import TRUNKS, first_trunk, open_trunk
from emo_lightning.models.checkpoint_io import read_training_checkpoint


def choose_perceptual(recipe: Any) -> nn.Module:
    """The loss that ``recipe.backbone`` names.

    ``auto``: VGG-19 where the user has its weights, else the cheapest network that a package
    ships, else the pyramid.

    Raises:
        UserError: weights that are missing or cannot be read.
    """
    path, name = recipe.perceptual_weights, recipe.backbone
    if name == "pyramid":
        return PyramidLoss()
    if name in TRUNKS:
        return FeatureLoss(open_trunk(name))
    if name == "auto" and path is None:
        trunk = first_trunk()
        return PyramidLoss() if trunk is None else FeatureLoss(trunk)
    accepted = "torchvision's vgg19 weights (.pth)"
    if path is None or not Path(path).is_file():
        raise UserError("recipe.perceptual_weights", path, accepted, "is not a file")
    try:
        return VGGLoss(read_training_checkpoint(path))
    except (KeyError, RuntimeError, OSError, EOFError, ValueError) as error:
        problem = f"cannot be read ({error})"
        raise UserError("recipe.perceptual_weights", path, accepted, problem) from None
