"""Refit how audio moves the lips, and a person's style, to a few minutes of their own video.

A part of the video is held out. If the refitted readout is worse there, the weights stay as they
were, and the command says so. DIR holds weights for emo generate, calibration.json with every
figure, and calibration.html to look at.

  emo calibrate --video me.mp4 --out me
  emo calibrate --video monday.mp4 --video tuesday.mov --out me
  emo generate --portrait me.jpg --audio hello.wav --checkpoint-dir me --out hello.mp4

Of the video only the fit and figures are stored: no picture, no audio, no name.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emo_lightning.commands.arguments import integer
from emo_lightning.core.progress import note, result

SUMMARY = "refit lips and style to a person's own video"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    video = "one person who speaks, at least 20 s, better a few minutes; may be repeated"
    parser.add_argument(
        "--video", type=Path, action="append", required=True, metavar="V", help=video
    )
    out = "a new or empty folder for the weights"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    start = "weights to start from (default: those shipped)"
    parser.add_argument("--checkpoint-dir", type=Path, metavar="D", help=start)
    devices = "auto (default), cpu, cuda, cuda:N or mps"
    parser.add_argument("--device", default="auto", metavar="D", help=devices)
    seed, same = integer("--seed", 0, 2**31), "same seed, same result (default 0)"
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help=same)


def run(args: argparse.Namespace) -> None:
    """Calibrate and report the result."""
    from emo_lightning.calibration.calibrate import PAGE, calibrate

    report = calibrate(args.video, args.out, args.checkpoint_dir, args.seed, args.device)
    for number, video in enumerate(report["videos"], start=1):
        note(f"video {number}: {_video_line(video)}")
    if "held_out" in report:
        _print_scores(report["held_out"])
    reasons = "; ".join(report["reasons"])
    if report["result"] == "unchanged":
        note(f"kept the weights as they were: {reasons}")
    else:
        note(f"fitted {report['scope']}" + (f" ({reasons})" if reasons else ""))
    result(f"wrote {args.out} ({report['seconds_in_all']:.0f} s); look at {args.out / PAGE}")


def _video_line(video: Mapping[str, Any]) -> str:
    offset, skipped = video["offset"], "; ".join(video["skipped"])
    late = f"picture {offset['lag']:+d} frames late"
    sync = late if offset["found"] else "its lips do not follow its audio"
    used = f"a face that speaks for {video['usable_seconds']:.1f} of {video['seconds']:.1f} s"
    return f"{used}, {sync}" + (f"; skipped: {skipped}" if skipped else "")


def _print_scores(held_out: Mapping[str, Any]) -> None:
    note("held-out part          shipped  refitted   difference, 95 %")
    for score, label in (("r", "correlation"), ("amplitude", "movement"), ("error", "error")):
        for k, name in enumerate(("opening", "width")):
            old, new = (held_out[one][score][k] for one in ("shipped", "refitted"))
            low, high = held_out["difference_ci95"][score][k]
            title = f"{label}, {name}"
            note(f"{title:<22} {old:>7.2f}  {new:>8.2f}   {low:+.2f} to {high:+.2f}")
