"""Shard sets: sample schema, tar archives, index, verification, remote access."""
