"""External weights: names, licences, where each was found, and whether its content is right.

emo assets list              name, licence and where each was found
emo assets verify            the same, and exit code 2 if a file has another content
emo assets fetch NAME        download one from its official place
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emo_lightning.core.assets import AssetStatus

SUMMARY = "list, verify or fetch external weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("action", choices=("list", "verify", "fetch"), help="what to do")
    name = "with fetch: the asset; without NAME all that have a download"
    parser.add_argument("name", nargs="?", metavar="NAME", help=name)
    folder = "folder to look in first, and to fetch to"
    parser.add_argument("--dir", type=Path, metavar="D", help=folder)


def run(args: argparse.Namespace) -> None:
    """Do what was asked and print one line an asset."""
    from emo_lightning.core import assets

    if args.action == "fetch":
        names = [args.name] if args.name else [asset.name for asset in assets.ASSETS if asset.url]
        for name in names:
            print(f"{name}: {assets.fetch(name, args.dir)}", flush=True)
        return
    statuses = assets.verify(args.dir) if args.action == "verify" else assets.list_assets(args.dir)
    for status in statuses:
        if args.name in (None, status.asset.name):
            print(_line(status), flush=True)


def _line(status: AssetStatus) -> str:
    asset, place = status.asset, "absent"
    if status.path is not None:
        place = f"{status.source}: {status.path}" + ("" if status.valid else " (another content)")
    return f"{asset.name}  {asset.sha256[:16] or '-'}  {asset.licence}  {place}  {asset.about}"
