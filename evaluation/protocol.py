"""The evaluation protocol ``emo-eval-2``: what is compared with what, fixed once so that numbers
can be compared.

- Videos are decoded once, to RGB in memory with no other encoding between, and resampled to 25
  frames/s by timestamp; frame k is the image shown at k/25 s. Audio is decoded to 16 kHz mono on
  the images' clock and cut, or filled with silence, to their length.
- A generated clip and its reference are compared at equal timestamps, over the span that both
  cover, however short. A difference in length is reported with the clip.
- One square crop a clip, fixed over time, comes from the reference's landmarks and is applied to
  both (scaled when the resolutions differ), resampled to 256 x 256. Clips whose images differ in
  aspect ratio do not show the same framing: then each is cropped by its own landmarks, pixel
  metrics are not computed, and the clip says ``framing: own``.
- ``--align face``: a clip whose face lies elsewhere than the reference's is cropped by a square of
  its own, moved and scaled once so that the bony points of the first frame in which both show a
  face coincide. It is not rotated, because a tilt is the head's own. Results then name the protocol
  ``emo-eval-2+align-face``.
- A clip's tracks count only where both faces were found; with fewer than half of the frames it is
  not scored.
- A clip's score is its mean over frames (PSNR: of the pooled squared error, at least that of 8-bit
  rounding); a system's score is the mean over clips, with a 95 % Student interval over clips; a
  metric over a set says how its own interval was found. What cannot be computed is absent, with a
  reason, and never a number.
- The systems of one table are compared on the clips that all of them have a score for (protocol 1
  took each system's own clips, so that a missing bad clip helped). Missing clips are listed.
  Systems without a common clip are not ranked.
- The references themselves are a row of every table, and so are controls made of them, which a
  metric worth believing must rank correctly: their audio five frames late, five frames early,
  another clip's audio (of another speaker where speakers are known), and their first frame with a
  face, held.
"""

from __future__ import annotations

PROTOCOL = "emo-eval-2"
SIZE = 256
MIN_FACE_SHARE = 0.5
ASPECT_TOLERANCE = 0.01
ALIGNMENTS = ("face",)
"""What a clip's square may follow in place of the reference's own square."""
REFERENCE = "reference"
"""The name of the reference clips' own row."""
CONTROL = "control: "
"""How the names of the controls' rows begin."""
LATE = CONTROL + "audio 5 frames late"
EARLY = CONTROL + "audio 5 frames early"
OTHER = CONTROL + "another clip's audio"
STILL = CONTROL + "still"
AUDIO_CONTROLS = (LATE, EARLY, OTHER)
CONTROLS = {
    LATE: "the reference with its audio 5 frames late",
    EARLY: "the reference with its audio 5 frames early",
    OTHER: "the reference with the audio of another clip",
    STILL: "the reference's first frame with a face, held",
}
SHIFT_FRAMES = 5


class NotScored(Exception):
    """A clip, or one metric of it, that cannot be scored; the message is the reason that the report
    shows."""


class Unavailable(Exception):
    """A judge that this installation lacks; the message says what is missing and how to get it."""


def protocol_name(align: str | None) -> str:
    """The protocol's name with the options in it."""
    return PROTOCOL if align is None else f"{PROTOCOL}+align-{align}"


def same_framing(size: tuple[int, int], reference: tuple[int, int]) -> bool:
    """Whether two images ``(width, height)`` have one aspect ratio and so can show the same
    view."""
    return abs(size[0] / size[1] * reference[1] / reference[0] - 1) <= ASPECT_TOLERANCE
