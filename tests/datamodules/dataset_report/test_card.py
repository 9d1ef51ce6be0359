"""What people look at: the card, the histogram page, the contact sheet."""

from __future__ import annotations

import html.parser
import shutil
from collections import Counter

import numpy as np

from datamodules.dataset_report.card import Seen, data_card, measure, read_shard
from datamodules.dataset_report.contact_sheet import GREEN, SIDE, choose, contact_sheet
from datamodules.dataset_report.histograms import histogram, histogram_page
from datamodules.shards.tar_io import ShardWriter, read_index


def test_the_card_says_what_the_index_says(shard_set):
    index = read_index(shard_set)
    index.failures = {"no_face": 3, "timeout": 12}
    lines = data_card(index, "my set").splitlines()
    assert lines[0].startswith("my set: 16 clips, 0.5 min, 5 speakers, 16 shards")
    table = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert table["emotion"] == ["8", "no", "level", "all"]
    assert table["happy"] == ["8", ".", "8"] and table["unknown"] == [".", "8", "8"]
    assert (
        table["train"][0] == "12" and table["val"][0] == "4" and table["s9"] == ["4", "0.1", "val"]
    )
    assert lines.index("failures: 15") + 1 == lines.index("      12  timeout")
    assert (
        len({len(line) for line in lines if line.startswith(("emotion", "happy", "unknown"))}) == 1
    )


class Tags(html.parser.HTMLParser):
    """Counts tags and keeps the text of captions."""

    def __init__(self):
        super().__init__()
        self.tags, self.text = Counter(), []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1

    def handle_data(self, data):
        self.text.append(data)


def test_histograms_count_every_clip_and_escape_names(shard_set):
    index = read_index(shard_set)
    measures = measure(shard_set, index)
    assert len(measures.seen) == 16 and measures.bad == {}
    np.testing.assert_allclose(
        sorted(measures.values["length, s"]), [(40 + n) / 25 for n in range(16)]
    )
    assert measures.values["level"] == [8.0] * 8
    page = Tags()
    page.feed(histogram_page(index, measures, "<script>x</script>"))
    assert page.tags["script"] == 0 and "<script>x</script>" in "".join(page.text)
    assert page.tags["svg"] == len(measures.values) and "length, s" in "".join(page.text)
    drawn = Tags()
    drawn.feed(histogram([1, 1, 2, 4], "n"))
    counts = [int(text.rpartition(": ")[2]) for text in drawn.text if " to " in text]
    assert counts == [2, 1, 1]
    assert "n 1<" in histogram([5.0], "one")


def test_large_sets_are_measured_in_part(shard_set):
    index = read_index(shard_set)
    assert 4 <= len(measure(shard_set, index, clips=4).seen) < 16


def test_the_sheet_shows_face_landmarks_units_and_sound(shard_set, make_sample):
    index = read_index(shard_set)
    measures = measure(shard_set, index)
    sheet = contact_sheet(shard_set, index, measures.seen, clips=5)
    assert sheet.dtype == np.uint8 and sheet.shape[1] > 4 * SIDE
    np.testing.assert_array_equal(sheet, contact_sheet(shard_set, index, measures.seen, clips=5))
    assert (sheet != contact_sheet(shard_set, index, measures.seen, clips=5, seed=1)).any()
    assert (sheet == np.array(GREEN, np.uint8)).all(2).sum() > 5 * 50


def test_a_sheet_needs_neither_video_nor_good_samples(tmp_path, make_sample, shard_set):
    with ShardWriter(tmp_path / "light", video=False) as writer:
        writer.add(make_sample(0, 20, video=False))
        writer.finish()
    index = read_index(tmp_path / "light")
    assert (
        contact_sheet(tmp_path / "light", index, measure(tmp_path / "light", index).seen).shape[1]
        < 2 * SIDE
    )
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    path = copy / "light-train-000000.tar"
    path.write_bytes(path.read_bytes().replace(b'"fps":25.0', b'"fps":24.0'))
    (copy / "light-train-000001.tar").unlink()
    index = read_index(copy)
    measures = measure(copy, index)
    assert measures.bad == {"bad_meta": 2, "bad_archive": 1} and len(measures.seen) == 12
    for video in copy.glob("video-*"):
        video.unlink()
    assert contact_sheet(copy, index, measures.seen, 3).any()
    assert contact_sheet(copy, index, [], 3).any()


def test_the_choice_spreads_over_emotions_and_speakers():
    shard = read_shard.__name__
    seen = [
        Seen(shard, f"{e}{s}{n}", e, s, float(n))
        for e in ("happy", "sad", "fear")
        for s in ("a", "b")
        for n in (1, 2, 3)
    ]
    seen += [Seen(shard, f"many{n}", "happy", "a", 1.0) for n in range(50)]
    chosen = choose(seen, 6, 0)
    assert Counter(s.emotion for s in chosen) == {"happy": 2, "sad": 2, "fear": 2}
    assert Counter(s.speaker for s in chosen) == {"a": 3, "b": 3}
    assert [s.emotion for s in chosen] == ["fear", "fear", "happy", "happy", "sad", "sad"]
    assert len(choose(seen, 1000, 0)) == len(seen)
