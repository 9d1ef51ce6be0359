"""Train one stage from shards.

  emo train experiments/stage1.yaml data=DIR out=DIR
  emo train experiments/stage2.yaml data=DIR out=DIR decoupler=DIR/decoupler.safetensors
  emo train experiments/stage1.yaml --help     every key with its type, default and meaning

The resolved settings are saved with the run; a wrong key is answered with the nearest right one.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

SUMMARY = "train one of the three stages"
OWN_HELP = True
"""The command defines ``--help`` itself."""
FAILED = 1


class _KeyHelp(argparse.Action):
    """``--help`` that lists the keys of the experiment before it on the command line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        parser.print_help()
        if getattr(namespace, "experiment", None):
            from emo_lightning.training.config import describe

            print()
            print(key_table(describe(namespace.experiment)))
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "-h",
        "--help",
        nargs=0,
        action=_KeyHelp,
        help="show this help; after EXPERIMENT.yaml its keys",
    )
    parser.add_argument("experiment", metavar="EXPERIMENT.yaml", help="one stage's configuration")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="settings that differ from it, such as trainer.max_steps=200",
    )


def key_table(rows: Sequence[tuple[str, str, str, str]]) -> str:
    """Text of the keys: one line each with type and default, the meaning indented below."""
    lines = []
    for key, kind, default, meaning in rows:
        lines += [
            f"  {key}={default}  ({kind})",
            *textwrap.wrap(meaning, 90, initial_indent=" " * 8, subsequent_indent=" " * 8),
        ]
    return "keys of this experiment, with their defaults:\n" + "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    """Train to the end and export the network; exit code 1 where the run had to stop."""
    from emo_lightning.training.config import load_config
    from emo_lightning.training.run_dir import RunError
    from emo_lightning.training.train import train

    try:
        train(load_config(args.experiment, args.overrides))
    except RunError as error:
        print(f"emo: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(FAILED)
