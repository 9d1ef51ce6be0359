"""Features on disk, so that each extractor processes a clip once, however often it is compared.

A key holds everything the content depends on: the file's hash, the crop, the extractor and its
version, the judge's weights and the protocol. An entry is a plain ``.npz``; one that cannot be read
counts as absent and is written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emo_lightning.core.atomic_files import move_into_place
from emo_lightning.core.errors import UserError
from evaluation.protocol import PROTOCOL


def key(*parts: object) -> str:
    """An entry's name from everything that its content depends on, as plain JSON values; floats to
    the last bit."""
    return hashlib.sha256(json.dumps([PROTOCOL, *parts]).encode()).hexdigest()


class FeatureCache:
    """Arrays by key in a folder, which several processes may share.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, folder: Path, argument: str = "--cache") -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"cannot be made ({error.strerror})"
            raise UserError(argument, folder, "a folder that can be written", problem) from None

    def path(self, name: str) -> Path:
        """Where an entry is or would be; spread over folders, because there may be very many."""
        return self.folder / name[:2] / f"{name[2:]}.npz"

    def has(self, name: str) -> bool:
        """Whether there is such an entry (it may still prove unreadable)."""
        return self.path(name).is_file()

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """The arrays, or None."""
        try:
            with np.load(self.path(name), allow_pickle=False) as archive:
                return {entry: archive[entry] for entry in archive.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def save(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an entry; it appears whole or not at all."""
        path = self.path(name)
        path.parent.mkdir(exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
            move_into_place(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
