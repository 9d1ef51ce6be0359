"""The evaluation protocol ``emo-eval-1``: what is compared with what, fixed once so that numbers can be compared.

- Videos are decoded to RGB and resampled to 25 frames/s by timestamp; frame k is the picture shown at k/25 s.
- A generated clip and its reference are compared at equal timestamps, over the span that both cover. A difference in
  length is reported with the clip.
- One square crop a clip, fixed over time, comes from the reference's landmarks and is applied to both (scaled when the
  resolutions differ), resampled to 256 x 256. Clips whose pictures differ in aspect ratio do not show the same framing:
  then each is cropped by its own landmarks, pixel metrics are not computed, and the clip says ``framing: own``.
- A clip's tracks count only where both faces were found; with fewer than half of the frames it is not scored.
- A clip's score is its mean over frames (PSNR: of the pooled squared error); a system's score is the mean over clips,
  with a 95 % Student interval over clips. What cannot be computed is absent, with a reason, and never a number.
"""

from __future__ import annotations

PROTOCOL = "emo-eval-1"
FPS = 25.0
SIZE = 256
MIN_FACE_SHARE = 0.5
ASPECT_TOLERANCE = 0.01
REFERENCE = "reference"
"""The name under which the reference clips themselves appear among the systems."""


class NotScored(Exception):
    """A clip, or one metric of it, that cannot be scored; the message is the reason that the report shows."""


def same_framing(size: tuple[int, int], reference: tuple[int, int]) -> bool:
    """Whether two pictures ``(width, height)`` have one aspect ratio and so can show the same view."""
    return abs(size[0] / size[1] * reference[1] / reference[0] - 1) <= ASPECT_TOLERANCE
