"""Scoring talking-face videos: metrics, judges, one named protocol, results with intervals, and a report."""
