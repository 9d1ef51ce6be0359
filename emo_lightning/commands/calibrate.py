"""Refit what lips do to a sound, and a person's style, to a few minutes of their own film.

A part of the film is held out. If the refitted read-out is worse there than the one that you had, that one is kept, and the
command says so. DIR holds weights for emo generate, calibration.json with every figure, and calibration.html to look at.

  emo calibrate --video me.mp4 --out me
  emo calibrate --video monday.mp4 --video tuesday.mov --out me
  emo generate --portrait me.jpg --audio hello.wav --checkpoint-dir me --out hello.mp4

Of the film nothing is stored but the fit and figures: no picture, no sound, no name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer

SUMMARY = "refit the lips and the style to a person's own film"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    about = "one person who speaks, at least 20 s, better a few minutes; may be repeated"
    parser.add_argument(
        "--video", type=Path, action="append", required=True, metavar="V", help=about
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="a new or empty folder for the weights",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="D",
        help="weights to start from (default: those shipped)",
    )
    parser.add_argument(
        "--seed",
        type=integer("--seed", 0, 2**31),
        default=0,
        metavar="N",
        help="same seed, same result (default 0)",
    )


def run(args: argparse.Namespace) -> None:
    """Calibrate and say what came of it."""
    from emo_lightning.calibration.calibrate import PAGE, calibrate

    result = calibrate(args.video, args.out, args.checkpoint_dir, args.seed)
    for number, video in enumerate(result.report["videos"], start=1):
        offset = video["offset"]
        sync = (
            f"picture {offset['lag']:+d} frames late"
            if offset["found"]
            else "its lips do not follow its sound"
        )
        left = f"; left out: {'; '.join(video['left_out'])}" if video["left_out"] else ""
        print(
            f"video {number}: a face that speaks for {video['face_that_speaks']:.1f} of {video['seconds']:.1f} s, {sync}{left}"
        )
    if "held_out" in result.report:
        held = result.report["held_out"]
        print("held-out part          shipped  refitted   difference, 95 %")
        for measure, label in (("r", "correlation"), ("amplitude", "movement"), ("error", "error")):
            for k, name in enumerate(("opening", "width")):
                old, new, (low, high) = (
                    held["shipped"][measure][k],
                    held["refitted"][measure][k],
                    held["difference_ci95"][measure][k],
                )
                print(
                    f"{label + ', ' + name:<22} {old:>7.2f}  {new:>8.2f}   {low:+.2f} to {high:+.2f}"
                )
    reasons = "; ".join(result.reasons)
    if result.kept:
        print(f"kept the weights as they were: {reasons}")
    else:
        print(f"fitted {result.report['what']}" + (f" ({reasons})" if reasons else ""))
    print(
        f"wrote {result.out} ({result.report['seconds_in_all']:.0f} s); look at {result.out / PAGE}"
    )
