"""Extraction of clips in a worker, whatever process that is."""

from __future__ import annotations

import shutil
import tempfile

from datamodules.preprocessing.extraction import Extractor
from datamodules.preprocessing.jobs import Outcome, Recipe, stamps
from datamodules.sources.clip import Clip, Stored
from emo_lightning.core.errors import UserError


class ExtractWorker:
    """Holds the models; turns clips into outcomes, one after another.

    Raises:
        UserError: the landmark back end is not available.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._extractor = Extractor(
            recipe.source,
            recipe.size,
            recipe.landmarks,
            recipe.keep_silent,
            recipe.clip_seconds,
            recipe.landmark_model,
        )
        if recipe.pictures:
            self._extractor.landmarker  # noqa: B018  (its start must not count against a clip)

    def extract(self, clip: Clip) -> Outcome | UserError:
        """A clip's outcome; a UserError is returned, not raised, when no clip can be extracted."""
        before = stamps(clip)
        try:
            result = self._extractor.extract(clip)
        except Exception as error:  # a clip that a library fails on must not end a run of days
            detail = f"{type(error).__name__}: {error}"[:500]
            return Outcome.failed(clip.name, "error", detail)
        in_archive = any(failure.reason == "archive" for failure in result.failures)
        if in_archive and (no_room := _temporary_folder_full(clip)) is not None:
            return no_room
        if stamps(clip) != before:
            return Outcome.failed(clip.name, "changed", "the file changed while it was read")
        return Outcome.of(clip.name, result)


def _temporary_folder_full(clip: Clip) -> UserError | None:
    """Files in archives are copied to the temporary folder: an error if it lacks the room."""
    folder = tempfile.gettempdir()
    size = sum(place.size for place in (clip.path, clip.audio) if isinstance(place, Stored))
    if shutil.disk_usage(folder).free > size:
        return None
    accepted = "a temporary folder with room for one clip a worker; go on with --resume"
    return UserError("TMPDIR", folder, accepted, "is full")
