"""One person's few minutes of film refit what their lips do to a sound: tracking, splitting, refitting, judging, telling."""
