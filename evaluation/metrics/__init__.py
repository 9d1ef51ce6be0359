"""One metric a file: a pure function and a thin torchmetrics class whose states are sums (features, where pairs of all of them count). Nothing of ours is imported here."""
