"""One-off build scripts: the built-in face model, the evaluation's own judges. Not installed."""
