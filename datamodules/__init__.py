"""Corpora into shards, and shards into batches."""

import emo_lightning  # noqa: F401  (lightning imports torchvision)
