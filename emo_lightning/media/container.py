"""Opening of a user's audio or video file: whatever makes it unreadable becomes one clear error.

Formats that may name other files or addresses (playlists, concatenations) are not opened at all.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import av.container
from av.stream import Disposition

from emo_lightning.core.errors import UserError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,asf,mpegts,mpeg,mpegvideo,h264,hevc,m4v,dv,mxf,"
    "rm,wav,w64,mp3,ogg,flac,aac,aiff,au,caf,amr,ac3,eac3,dts,dtshd,truehd,mlp"
)
"""Containers that are read, by libavformat's names."""
SOUND, VIDEO = (
    "a recording (wav, flac, mp3, m4a, ogg, or a video with sound)",
    "a video file (mp4, mov, mkv, webm, avi)",
)
LFS_HEADER = b"version https://git-lfs.github.com/"
LFS_PROBLEM = "is a Git LFS pointer; run git lfs pull"


class MediaError(UserError):
    """A media file that cannot be used; ``reason`` is a short code for counting.

    Codes: missing, empty, lfs_pointer, unreadable, codec, no_audio, no_video, too_short, silent,
    truncated, decode_error.
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

    def refuse(reason: str, problem: str) -> MediaError:
        return MediaError(reason, argument, path, accepted, problem)

    if not path.exists():
        raise refuse("missing", "does not exist")
    if not path.is_file():
        raise refuse("missing", "is not a file")
    if not os.access(path, os.R_OK):
        raise refuse("unreadable", "may not be read")
    if path.stat().st_size == 0:
        raise refuse("empty", "is empty (0 bytes)")
    if is_lfs_pointer(path):
        raise refuse("lfs_pointer", LFS_PROBLEM)
    try:
        # The prefix keeps libavformat from reading a protocol out of a file's name.
        container = av.open(
            f"file:{path.absolute()}",
            metadata_errors="ignore",
            options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        )
    except av.error.ArgumentError:  # a format that is not on the list
        name = path.suffix.removeprefix(".").upper()
        problem = f"is in a format that is not supported ({name or 'without a file extension'})"
        raise refuse("unreadable", problem) from None
    except (av.error.FFmpegError, ValueError, OSError) as error:
        brief = str(getattr(error, "strerror", None) or error).splitlines()[0]
        raise refuse("unreadable", f"cannot be decoded ({brief})") from None
    if not getattr(container.streams, kind):
        container.close()
        raise refuse(f"no_{kind}", "has no sound" if kind == "audio" else "has no picture")
    return container


def choose_stream(
    container: av.container.InputContainer,
    kind: str,
    path: str | Path,
    argument: str,
    track: int | None = None,
) -> av.stream.Stream:
    """The stream of a kind to decode: a track by number from 1, or the file's default one.

    Raises:
        MediaError: no such track, or its codec is not supported.
    """
    streams = getattr(container.streams, kind)
    accepted = SOUND if kind == "audio" else VIDEO
    if track is not None and not 1 <= track <= len(streams):
        accepted = f"1 to {len(streams)}" if len(streams) > 1 else "1"
        problem = f"is not a sound track of {path}"
        raise MediaError("missing", "--audio-track", track, accepted, problem)
    default = [stream for stream in streams if stream.disposition & Disposition.default]
    stream = streams[track - 1] if track is not None else (default or streams)[0]
    if stream.codec_context is None:
        problem = f"uses a codec of {kind} that is not supported; convert it with ffmpeg"
        raise MediaError("codec", argument, path, accepted, problem)
    return stream


def is_lfs_pointer(path: str | Path) -> bool:
    """Whether a file is the placeholder that Git LFS leaves until its content is pulled."""
    try:
        with open(path, "rb") as file:
            return file.read(len(LFS_HEADER)) == LFS_HEADER
    except OSError:
        return False
