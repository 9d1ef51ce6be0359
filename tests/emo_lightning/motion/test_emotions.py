"""Names of emotions: synonyms and typos."""

from __future__ import annotations

import pytest

from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotion_track import EmotionTrack
from emo_lightning.motion.emotions import EMOTIONS, check_emotion


def test_synonyms_are_understood_and_typos_get_a_suggestion() -> None:
    for word, emotion in (
        ("Happy", "happy"),
        (" anger", "angry"),
        ("DISGUST", "disgusted"),
        ("surprise", "surprised"),
        ("fearful", "fear"),
        ("sadness", "sad"),
        ("calm", "neutral"),
        *((emotion, emotion) for emotion in EMOTIONS),
    ):
        assert check_emotion(word) == emotion
        assert EmotionTrack.constant(word, 5).keys[0].emotion == EMOTIONS.index(emotion)
    with pytest.raises(UserError, match="'suprised' is not an emotion; did you mean surprised"):
        check_emotion("suprised")
    with pytest.raises(UserError, match="is not an emotion; accepted"):
        check_emotion("xyzzy")
