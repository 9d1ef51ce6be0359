"""The data card, the histogram page and the contact sheet."""

from __future__ import annotations

import html.parser
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np

from datamodules.dataset_report.card import ClipEntry, collect_statistics, data_card
from datamodules.dataset_report.contact_sheet import CELL, DPI, choose_clips, contact_sheet
from datamodules.dataset_report.histograms import histogram, histogram_page
from datamodules.shards.index import read_index
from datamodules.shards.writer import ShardWriter

CELL_PIXELS = CELL * DPI


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
    statistics = collect_statistics(shard_set, index)
    assert len(statistics.clips) == 16 and statistics.bad == {}
    np.testing.assert_allclose(
        sorted(statistics.values["length, s"]), [(40 + n) / 25 for n in range(16)]
    )
    assert statistics.values["level"] == [8.0] * 8
    index.notes = ["<b>a note</b>"]
    index.failures = {"no_face": 3}
    page = Tags()
    page.feed(histogram_page(index, statistics, "<script>x</script>"))
    text = "".join(page.text)
    assert page.tags["script"] == 0 and "<script>x</script>" in text and "<b>a note</b>" in text
    assert page.tags["svg"] == len(statistics.values) and "length, s: mean" in text
    assert "no_face" in text and page.tags["section"] == 8
    chart = Tags()
    chart.feed(histogram([1, 1, 2, 4], "<n>"))
    assert "".join(chart.text).split("<n>: ")[1].startswith("mean 2, n 4")
    assert histogram([5.0], "one") == histogram([5.0], "one")


def test_a_page_of_clips_without_labels_or_of_none(tmp_path, make_sample):
    with ShardWriter(tmp_path / "set", video=False) as writer:
        writer.add(make_sample(0, 20, video=False))
        index = writer.finish()
    page = histogram_page(index, collect_statistics(tmp_path / "set", index), "set")
    assert "No clip has an emotion." in page and "None: every clip became a sample." in page
    (tmp_path / "set" / index.shards[0].name).unlink()
    page = histogram_page(index, collect_statistics(tmp_path / "set", index), "set")
    assert "No clip could be read." in page and "bad_archive" in page


def test_large_sets_are_measured_in_part(shard_set):
    index = read_index(shard_set)
    assert 4 <= len(collect_statistics(shard_set, index, clips=4).clips) < 16


def test_the_contact_sheet_shows_face_landmarks_units_and_waveform(shard_set):
    index = read_index(shard_set)
    entries = collect_statistics(shard_set, index).clips
    picture = contact_sheet(shard_set, index, entries, clips=5)
    assert picture.dtype == np.uint8 and picture.shape[1:] == (4 * CELL_PIXELS, 3)
    one, again = (contact_sheet(shard_set, index, entries, clips=1) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    blue, green, red = (picture.astype(int)[..., i] for i in range(3))
    assert ((green > red + 40) & (green > blue + 40)).sum() > 5 * 50  # landmarks
    assert ((blue > red + 80) & (blue > green + 40)).sum() > 5 * 500  # action units and waveform


def test_a_contact_sheet_needs_neither_video_nor_good_samples(tmp_path, make_sample, shard_set):
    light = tmp_path / "light"
    with ShardWriter(light, video=False) as writer:
        writer.add(make_sample(0, 20, video=False, speaker="$a_b"))
        index = writer.finish()
    entries = collect_statistics(light, index).clips
    assert contact_sheet(light, index, entries).shape[1] == CELL_PIXELS
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    path = copy / "light-train-000000.tar"
    path.write_bytes(path.read_bytes().replace(b'"fps":25.0', b'"fps":24.0'))
    (copy / "light-train-000001.tar").unlink()
    index = read_index(copy)
    statistics = collect_statistics(copy, index)
    assert statistics.bad == {"bad_meta": 2, "bad_archive": 1} and len(statistics.clips) == 12
    for video in copy.glob("video-*"):
        video.unlink()
    assert contact_sheet(copy, index, statistics.clips, 2).any()
    assert contact_sheet(copy, index, [], 3).any()


def test_audio_alone_is_shown_as_spectrograms(tmp_path, make_sample):
    sample = make_sample(0, 20, video=False)
    sample = replace(sample, coefficients=None, au=None, landmarks=None)
    with ShardWriter(tmp_path / "set") as writer:
        writer.add(sample)
        index = writer.finish()
    statistics = collect_statistics(tmp_path / "set", index)
    picture = contact_sheet(tmp_path / "set", index, statistics.clips)
    assert (
        picture.shape[0] < 2 * CELL_PIXELS and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    )


def test_the_choice_spreads_over_emotions_and_speakers(shard_set):
    shard = read_index(shard_set).shards[0]
    entries = [
        ClipEntry(shard, f"{e}{s}{n}", e, s, float(n))
        for e in ("happy", "sad", "fear")
        for s in ("a", "b")
        for n in (1, 2, 3)
    ]
    entries += [ClipEntry(shard, f"many{n}", "happy", "a", 1.0) for n in range(50)]
    chosen = choose_clips(entries, 6, 0)
    assert Counter(s.emotion for s in chosen) == {"happy": 2, "sad": 2, "fear": 2}
    assert Counter(s.speaker for s in chosen) == {"a": 3, "b": 3}
    assert [s.emotion for s in chosen] == ["fear", "fear", "happy", "happy", "sad", "sad"]
    assert len(choose_clips(entries, 1000, 0)) == len(entries)
