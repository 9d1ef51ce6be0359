"""Reports on a shard set: data card, histograms, contact sheet."""
