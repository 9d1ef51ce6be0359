"""Scoring of talking-face videos: metrics, judges, a named protocol, results and a report."""

import emo_lightning  # noqa: F401  (torchmetrics imports torchvision)
