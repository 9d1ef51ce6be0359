"""Make a video: the face of a portrait says a recording, with an emotion at a level.

Writes O.mp4 (H.264, AAC), O.npz (the coefficients) and O.json (what was made, from what, how fast).
O.webm, O.mov (ProRes with the person's alpha), O.gif, or a folder O of PNG frames by the name of
--out. Files that this program did not write are replaced only with --overwrite, inputs never.

  emo generate --portrait me.jpg --audio hello.wav --emotion happy --level 12 --out hello.mp4
  emo generate --portrait me.jpg --audio story.mp3 --emotion-track story.yaml --out story.mp4
  emo generate --portrait holiday.jpg --audio hello.wav --view crop --out head.mp4

An emotion track is a YAML list. Emotions rise and decay as they do on faces, surprise fast and
sadness slowly, and are half there at their time:
  - {time: 0, emotion: neutral}
  - {time: 2.5, emotion: happy, level: 9}
  - {time: 6, emotion: angry, level: 4, onset: 0.3, offset: 1.5}    seconds to rise and to decay
  - {time: 12, emotion: angry, level: 13, ease: linear}             steadily from the key before it
Or, with times for all keys without any: {onset: 0.5, offset: 1, keys: [...]}.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from emo_lightning.commands.arguments import integer
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import result
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS, check_emotion, check_level, check_voice_levels
from emo_lightning.renderers import registry

SUMMARY = "make a talking video from a portrait and a recording"
DEFAULT_LEVEL = 8.0
SIZES = (128, 1024, 16)
"""Smallest and largest side of the video, and what it must be a multiple of."""
STRENGTHS = {
    "head-motion": "movement of the head",
    "blinks": "rate of blinks",
    "brows": "movement of the brows",
    "mouth": "articulation",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    add = parser.add_argument
    face = "picture of one face, from the front"
    add("--portrait", type=Path, required=True, metavar="P", help=face)
    several = "of several faces: largest, or its number from left to right"
    add("--face", metavar="N", help=several)
    recording = "recording in any format and rate, or a video with audio"
    add("--audio", type=Path, required=True, metavar="A", help=recording)
    of_several = "number of the sound track, from 1 (default: the file's default one)"
    add("--audio-track", type=integer("--audio-track", 1), metavar="N", help=of_several)
    video = "the video to write; its folder must exist"
    add("--out", type=Path, required=True, metavar="O.mp4", help=video)
    add("--emotion", metavar="E", help=f"{', '.join(EMOTIONS)} (default neutral)")
    strength = f"how strong, 1 to 15, fractions too (default {DEFAULT_LEVEL:g}); neutral has none"
    add("--level", metavar="L", help=strength)
    over_time = "emotions over time, instead of --emotion and --level"
    add("--emotion-track", type=Path, metavar="T.yaml", help=over_time)
    voice = (
        "let loudness and pitch above or below the speaker's median move the level by up to N,"
        " 0 (default: off) to 5"
    )
    add("--level-from-voice", type=check_voice_levels, default=0.0, metavar="N", help=voice)
    renders = f"what renders the frames, one of those below (default {registry.DEFAULT})"
    add("--renderer", metavar="R", default=registry.DEFAULT, help=renders)
    parser.epilog = renderer_list()
    side = (
        "most pixels of the video's longer side, 128 to 1024 (default 1024); with --view crop"
        " its side (default 256)"
    )
    add("--size", type=integer("--size", *SIZES), metavar="S", help=side)
    views = (
        "full (default): the whole picture, the head moving; crop: the head in its square, also"
        " where the face would be too small"
    )
    add("--view", metavar="V", default="auto", help=views)
    rate = "frames per second, 25 (default), 30, 50 or 60"
    add("--fps", type=integer("--fps", 1), default=25, metavar="N", help=rate)
    same = "same seed, same video (default 0)"
    add("--seed", type=integer("--seed", 0, 2**32 - 1), default=0, metavar="N", help=same)
    encoders = (
        "whisper (better lip sync; its weights come with make install), mel, or auto (default):"
        " whisper where it is installed"
    )
    add("--audio-encoder", metavar="E", default="auto", help=encoders)
    weights = "folder of trained weights (default: those shipped)"
    add("--checkpoint-dir", type=Path, metavar="D", help=weights)
    devices = "auto (default), cpu, cuda, cuda:N or mps"
    add("--device", default="auto", metavar="D", help=devices)
    replace = "replace files of these names that this program did not write"
    add("--overwrite", action="store_true", help=replace)
    _add_controls(parser.add_argument_group("motion"))


def _add_controls(group: argparse._ArgumentGroup) -> None:
    for name, what in STRENGTHS.items():
        about = f"{what}, 0 (off) to 2 (default 1)"
        group.add_argument(f"--{name}", default="1", metavar="X", help=about)
    group.add_argument("--no-head-motion", action="store_true", help="the same as --head-motion 0")
    gaze = "natural (default): glances aside as the head moves; camera: eyes on the camera"
    group.add_argument("--gaze-at", default="natural", metavar="G", help=gaze)
    pose = "keep (default): the portrait's pose; natural: turn the head towards the camera"
    group.add_argument("--pose", default="keep", metavar="P", help=pose)
    units = (
        "value of an action unit, such as AU12=0.3, or a CSV file with a column time (seconds)"
        " and one for each unit; may be repeated"
    )
    group.add_argument("--set", action="append", default=[], metavar="UNIT=X", help=units)


def renderer_list() -> str:
    """The renderers there are, one a line."""
    listed = {name: registry.about(name) for name in registry.names()}
    listed["module:Class"] = "one of your own, in a module of the current folder or the environment"
    lines = (f"  {name:<21} {what}" for name, what in listed.items())
    return "renderers:\n" + "\n".join(lines).replace("%", "%%")


def run(args: argparse.Namespace) -> None:
    """Check the arguments, generate, and print what was written."""
    track = choose_track(args.emotion, args.level, args.emotion_track)
    registry.find(args.renderer)
    from emo_lightning.inference.generate import GenerateOptions, generate
    from emo_lightning.inference.motion_controls import MotionControls, parse_curves

    controls = MotionControls(
        head_motion=0.0 if args.no_head_motion else args.head_motion,
        blinks=args.blinks,
        brows=args.brows,
        mouth=args.mouth,
        gaze_at=args.gaze_at,
        pose=args.pose,
        curves=parse_curves(args.set),
    )
    options = GenerateOptions(
        renderer=args.renderer,
        view=args.view,
        size=args.size,
        seed=args.seed,
        audio_encoder=args.audio_encoder,
        level_from_voice=args.level_from_voice,
        checkpoint_dir=args.checkpoint_dir,
        controls=controls,
        fps=args.fps,
        device=args.device,
        overwrite=args.overwrite,
        face=args.face,
        audio_track=args.audio_track,
    )
    read = (args.emotion_track, *args.set)
    made = generate(args.portrait, args.audio, args.out, track, options, read)
    result(
        f"wrote {made.video}: {made.frames} frames, {made.frames / made.fps:.2f} s, made in"
        f" {made.seconds['total']:.1f} s with the {made.audio_encoder} audio encoder"
    )


def choose_track(emotion: str | None, level: str | None, track: Path | None) -> EmotionTrack:
    """The emotion over time that ``--emotion``, ``--level`` and ``--emotion-track`` ask for.

    Raises:
        UserError: a track together with one of the others, a level without an emotion, or a bad
            value.
    """
    if track is not None:
        for argument, value in (("--emotion", emotion), ("--level", level)):
            if value is not None:
                accepted = "either --emotion with --level, or --emotion-track"
                raise UserError(argument, value, accepted, "does not go with --emotion-track")
        return EmotionTrack.load(track)
    if emotion is None and level is not None:
        raise UserError("--level", level, "an --emotion to go with it", "has no emotion")
    name = check_emotion("neutral" if emotion is None else emotion)
    return EmotionTrack.constant(name, DEFAULT_LEVEL if level is None else check_level(level))
