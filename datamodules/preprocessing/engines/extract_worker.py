"""What a worker does with a clip, in whatever process it is."""

from __future__ import annotations

import shutil
import tempfile

from datamodules.preprocessing.extraction import Extractor
from datamodules.preprocessing.jobs import Outcome, Recipe, stamps
from datamodules.sources.clip import Clip, Stored
from emo_lightning.core.errors import UserError


class ExtractWorker:
    """Holds the models; makes outcomes of clips, one after another.

    Raises:
        UserError: the landmark back-end cannot be had.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._extractor = Extractor(
            recipe.source, recipe.size, recipe.landmarks, recipe.keep_mute, recipe.clip_seconds
        )
        if recipe.pictures:
            self._extractor.landmarker  # noqa: B018  (loaded here, so that its start does not count against a clip)

    def work(self, clip: Clip) -> Outcome | UserError:
        """A clip's outcome; a UserError is handed over, not raised, when no clip can be worked on here."""
        before = stamps(clip)
        try:
            result = self._extractor.extract(clip)
        except Exception as error:  # A clip that a library chokes on must not end a run of days; its line says what happened.
            return Outcome.failed(clip.name, "error", f"{type(error).__name__}: {error}"[:500])
        if any(failure.reason == "archive" for failure in result.failures) and (
            full := _no_room(clip)
        ):
            return full
        if stamps(clip) != before:
            return Outcome.failed(clip.name, "changed", "the file changed while it was read")
        return Outcome.of(clip.name, result)


def _no_room(clip: Clip) -> UserError | None:
    """Files in archives are copied to the temporary folder: is that too full for this clip's?"""
    folder = tempfile.gettempdir()
    size = sum(place.size for place in (clip.path, clip.audio) if isinstance(place, Stored))
    if shutil.disk_usage(folder).free > size:
        return None
    return UserError(
        "TMPDIR",
        folder,
        "a temporary folder with room for one clip a worker; go on with --resume",
        "is full",
    )
