"""The geometric renderer; importing the package makes it known as ``mesh``."""

from emo_lightning.renderers.mesh.renderer import MeshRenderer

__all__ = ["MeshRenderer"]
