"""Open a user's sound or video file safely: every way in which it can be unreadable becomes one clear error.

Formats that may name other files or addresses (playlists, concatenations) are not opened at all.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import av.container

from emo_lightning.core.errors import UserError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,m4v,dv,mxf,rm,"
    "wav,w64,mp3,ogg,flac,aac,aiff,au,caf,amr,ac3"
)
"""Containers we read, by libavformat's names."""
SOUND, VIDEO = (
    "a recording (wav, flac, mp3, m4a, ogg, or a video with sound)",
    "a video file (mp4, mov, mkv, webm, avi)",
)


class MediaError(UserError):
    """A media file that cannot be used; ``reason`` is a short code for counting.

    Codes: missing, empty, unreadable, no_audio, no_video, too_short, silent, truncated, decode_error.
    """

    def __init__(
        self, reason: str, argument: str, value: object, accepted: str, problem: str
    ) -> None:
        super().__init__(argument, value, accepted, problem)
        self.reason = reason


def open_media(path: str | Path, kind: str, argument: str) -> av.container.InputContainer:
    """Open a file that must hold a stream of one kind.

    Args:
        path: a local file.
        kind: ``audio`` or ``video``.
        argument: what the user knows the file by.

    Raises:
        MediaError: missing, a folder, empty, of no known format, or without such a stream.
    """
    path = Path(path)
    accepted = SOUND if kind == "audio" else VIDEO
    if not path.exists():
        raise MediaError("missing", argument, path, accepted, "does not exist")
    if not path.is_file():
        raise MediaError("missing", argument, path, accepted, "is not a file")
    if not os.access(path, os.R_OK):
        raise MediaError("unreadable", argument, path, accepted, "may not be read")
    if path.stat().st_size == 0:
        raise MediaError("empty", argument, path, accepted, "is empty (0 bytes)")
    try:
        # The prefix keeps libavformat from reading a protocol out of a file's name.
        container = av.open(
            f"file:{path.absolute()}",
            metadata_errors="ignore",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        )
    except (av.error.FFmpegError, ValueError, OSError) as error:
        raise MediaError(
            "unreadable", argument, path, accepted, f"cannot be decoded ({_brief(error)})"
        ) from None
    try:
        if not getattr(container.streams, kind):
            raise MediaError(
                f"no_{kind}",
                argument,
                path,
                accepted,
                "has no sound" if kind == "audio" else "has no picture",
            )
    except BaseException:
        container.close()
        raise
    return container


def _brief(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
