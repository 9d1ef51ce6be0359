"""The frame metrics of one clip beside its reference: taken from the cache, or found while the clip is walked along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from emo_lightning.face.crop import CropBox
from evaluation.protocol import NotScored, Unavailable
from evaluation.records import Record
from evaluation.runner.cache import FeatureCache, key
from evaluation.runner.feature_extraction import box_numbers, judge_numbers
from evaluation.runner.frame_metrics import PairScores
from evaluation.runner.frame_pass import Sink
from evaluation.runner.judge_registry import Opened, introduce
from evaluation.suite.base import FrameMetric

Pair = tuple[object, ...]
"""Who is compared with whom: the two files' hashes, the reference's crop, and what was done to the clip."""


def pair_of(digest: str, reference_digest: str, box: CropBox, *change: object) -> Pair:
    """The identity of a comparison."""
    return (digest, reference_digest, box_numbers(box), *change)


class Comparer:
    """Makes comparisons with one set of frame metrics."""

    def __init__(
        self, metrics: Mapping[str, FrameMetric], opened: Opened, cache: FeatureCache
    ) -> None:
        self.metrics, self.opened, self.cache = metrics, opened, cache

    def key(self, name: str, pair: Pair) -> str:
        """Where the values of one metric lie."""
        metric = self.metrics[name]
        return key(
            "pair", name, metric.version, metric.every, *judge_numbers(introduce(metric)), *pair
        )

    def lacks(self, pair: Pair) -> bool:
        """Whether some metric of a comparison is not in the cache."""
        return any(not self.cache.has(self.key(name, pair)) for name in self.metrics)

    def begin(self, pair: Pair, crops: Callable[[], Iterator[np.ndarray]]) -> Comparison:
        """A comparison with the reference whose crops ``crops`` gives."""
        return Comparison(self, pair, crops)


class Comparison:
    """One clip beside its reference."""

    def __init__(
        self, comparer: Comparer, pair: Pair, crops: Callable[[], Iterator[np.ndarray]]
    ) -> None:
        self._comparer, self._pair = comparer, pair
        self._values: dict[str, np.ndarray] = {}
        self._missing: dict[str, str] = {}
        wanted = {}
        for name, metric in comparer.metrics.items():
            known = comparer.cache.load(comparer.key(name, pair))
            if known is not None:
                self._values[name] = known["values"]
                continue
            try:
                wanted[name] = metric, comparer.opened.function(name, metric)
            except Unavailable as error:
                self._missing[name] = str(error)
        self._scores = PairScores(wanted, crops(), comparer.opened.device) if wanted else None

    @property
    def sink(self) -> Sink | None:
        """What takes the clip's crops; None when nothing remains to be found."""
        return self._scores.add if self._scores is not None else None

    def finish(self, record: Record) -> None:
        """Store what was found and write the scores into the record."""
        record.missing |= self._missing
        if self._scores is not None:
            try:
                found = self._scores.values()
            except NotScored as error:
                record.missing |= dict.fromkeys(self._comparer.metrics, str(error))
                return
            for name, values in found.items():
                self._comparer.cache.save(self._comparer.key(name, self._pair), {"values": values})
            self._values |= found
        for name, metric in self._comparer.metrics.items():
            if name in self._values:
                record.put(name, metric.finish(float(self._values[name].mean())))
