"""Export the network of a training checkpoint, as training does at its end.

  emo export runs/stage1/best.ckpt --out decoupler.safetensors

An average of the weights, where the run kept one, is what is exported.
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "write a training checkpoint's network as .safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="best.ckpt or last.ckpt")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="X.safetensors", help="file to write"
    )
    parser.add_argument("--half", action="store_true", help="store 16-bit floats")


def run(args: argparse.Namespace) -> None:
    """Read, check and write the network."""
    from emo_lightning.core.atomic_files import check_file
    from emo_lightning.models.checkpoint_io import export_checkpoint, product_of

    args.out.parent.mkdir(parents=True, exist_ok=True)
    out = check_file(args.out, (".safetensors",), "--out")
    product = product_of(args.checkpoint)
    mark = export_checkpoint(args.checkpoint, product, out, half=args.half)
    print(f"wrote {out}: {product}, fingerprint {mark[:12]}")
