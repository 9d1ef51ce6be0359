"""External weights: which there are, whether each is in place and unchanged, and how to get one.

emo assets list              name, licence and where each was found
emo assets verify            the same, and exit code 2 if a file has another content
emo assets fetch NAME        download one from its official place
"""

from __future__ import annotations

import argparse
from pathlib import Path

SUMMARY = "list, verify or fetch external weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("action", choices=("list", "verify", "fetch"), help="what to do")
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="with fetch: the asset; all that have a download when left out",
    )
    parser.add_argument(
        "--dir", type=Path, metavar="D", help="folder to look in first, and to fetch to"
    )


def run(args: argparse.Namespace) -> None:
    """Do what was asked and print one line an asset."""
    from emo_lightning.core import assets

    if args.action == "fetch":
        names = [args.name] if args.name else [asset.name for asset in assets.ASSETS if asset.url]
        for name in names:
            print(f"{name}: {assets.fetch(name, args.dir)}")
        return
    statuses = assets.verify(args.dir) if args.action == "verify" else assets.list_assets(args.dir)
    for status in statuses:
        if args.name in (None, status.asset.name):
            print(_line(status))


def _line(status: object) -> str:
    asset = status.asset
    state = (
        "absent"
        if status.path is None
        else f"{status.source}: {status.path}" + ("" if status.valid else " (another content)")
    )
    return f"{asset.name}  {asset.sha256[:16] or '-'}  {asset.licence}  {state}  {asset.about}"
