"""Train one stage from shards.

  emo train experiments/stage1.yaml data=DIR out=DIR
  emo train experiments/stage2.yaml data=DIR out=DIR decoupler=DIR/decoupler.safetensors size=debug trainer.max_steps=200

The experiment's file names every setting; a wrong key is answered with the nearest right one. The resolved settings are
saved with the run.
"""

from __future__ import annotations

import argparse

SUMMARY = "train one of the three stages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("experiment", metavar="EXPERIMENT.yaml", help="one stage's configuration")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that differ from it, e.g. trainer.max_steps=200",
    )


def run(args: argparse.Namespace) -> None:
    """Train to the end and export the network."""
    from emo_lightning.training.config import load_config
    from emo_lightning.training.train import train

    train(load_config(args.experiment, args.overrides))
