"""Provenance of a result: version, commit, tools, arguments; no paths of the machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from emo_lightning import __version__


def provenance(
    arguments: Mapping[str, object], packages: Sequence[str] = ("torch", "numpy", "av", "mediapipe")
) -> dict[str, object]:
    """What made a result, as plain JSON values.

    Args:
        arguments: the settings by name; a path becomes its last part.
        packages: distributions whose versions matter to the result.
    """
    return {
        "version": __version__,
        **commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in packages},
        "arguments": {
            name: value.name if isinstance(value, PurePath) else value
            for name, value in arguments.items()
        },
    }


def commit() -> dict[str, object]:
    """``commit``, and whether tracked files are ``modified``; both None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return {"commit": None, "modified": None}
    head, status = (
        _git(root, "rev-parse", "HEAD"),
        _git(root, "status", "--porcelain", "--untracked-files=no"),
    )
    return {"commit": head or None, "modified": None if status is None else bool(status)}


def sha256_of(path: str | Path) -> str:
    """Hex digest of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
