"""From a corpus of videos to shards: face tracking, extraction, packing, worker engines."""
