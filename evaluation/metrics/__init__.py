"""One metric a file: a pure function and a thin torchmetrics class whose states are sums. Nothing of ours is imported here."""
