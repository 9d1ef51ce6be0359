"""``emo shards``: what it prints, what it writes, how it exits."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest

from datamodules.shards.schema import Sample, SampleMeta
from datamodules.shards.writer import ShardWriter
from datamodules.sources.labels import EMOTION_OF
from emo_lightning.cli import main
from emo_lightning.core.constants import frames_for
from emo_lightning.face.coefficients import BUILTIN, Coefficients
from emo_lightning.motion.emotions import EMOTIONS


@pytest.fixture
def shards(tmp_path):
    """Ten happy clips of intensity 1, with stronger action units in later ones."""
    with ShardWriter(tmp_path / "set", video=False) as writer:
        for number in range(10):
            rng = np.random.default_rng(number)
            values = {block: np.zeros((20, width), np.float32) for block, width in BUILTIN.widths}
            meta = SampleMeta("test", "s0", 20, BUILTIN.to_dict(), emotion="happy", intensity=1)
            au = np.full((20, 17), 0.05 * number, np.float32)
            wave = 0.1 * rng.standard_normal(20 * 640).astype(np.float32)
            writer.add(
                Sample(
                    f"clip-{number}",
                    meta,
                    wave,
                    Coefficients(BUILTIN, values),
                    au,
                    rng.uniform(-1, 1, (20, 478, 3)),
                )
            )
        writer.finish()
    return tmp_path / "set"


def test_show_prints_the_card_and_writes_picture_and_page(shards, tmp_path, capsys):
    assert main(["shards", "show", str(shards), "--clips", "3"]) == 0
    assert "10 clips" in capsys.readouterr().out
    assert cv2.imread(str(shards / "contact_sheet.png")).shape[1] > 700
    assert "<svg" in (shards / "histograms.html").read_text()
    # What show wrote is no part of the set.
    assert main(["shards", "verify", str(shards)]) == 0
    (tmp_path / "elsewhere").mkdir()
    words = ["--clips", "1", "--out", str(tmp_path / "elsewhere")]
    assert main(["shards", "show", str(shards), *words]) == 0
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == [
        "contact_sheet.png",
        "histograms.html",
    ]


def test_verify_names_each_bad_sample_and_exits_with_2(shards, capsys):
    path = shards / "light-train-000000.tar"
    path.write_bytes(path.read_bytes().replace(b'"fps":25.0', b'"fps":24.0', 2))
    assert main(["shards", "verify", str(shards)]) == 2
    out, error = capsys.readouterr()
    named = [line for line in out.splitlines() if line.startswith("light-train-000000.tar")]
    assert named[0].startswith("light-train-000000.tar: wrong_hash")
    assert [line.split(": ")[:2] for line in named[1:]] == [
        [f"light-train-000000.tar clip-{n}", "bad_meta"] for n in (0, 1)
    ]
    assert "1 shards, 8 sound samples, 3 findings" in out and error.count("emo: ") == 1


def test_levels_writes_a_copy(shards, tmp_path, capsys):
    assert main(["shards", "levels", str(shards), "--out", str(tmp_path / "out")]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("happy"))
    assert row.split() == ["happy", "2", "2", "2", "2", "2", "10"]
    assert main(["shards", "verify", str(tmp_path / "out")]) == 0


def test_labels_prints_the_whole_mapping_without_a_set(capsys):
    assert main(["shards", "labels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("   ")[0].strip(): line for line in lines}
    assert lines[0].split() == list(EMOTION_OF) and set(EMOTIONS) <= set(rows)
    assert rows["happy"].split() == ["happy", "happy", "HAP", "03", "-", "-"]
    assert rows["intensity unknown"].split()[3] == "XX"
    assert all(code in "\n".join(lines) for codes in EMOTION_OF.values() for code in codes)


def test_add_whisper_writes_a_copy(shards, tmp_path, capsys, monkeypatch):
    def encoder(wave):
        return np.zeros((2 * frames_for(len(wave)), 384), np.float32)

    monkeypatch.setattr(
        "emo_lightning.inference.audio_frontends.whisper_teacher",
        lambda: (encoder, {"network": "w"}),
    )
    out = tmp_path / "out"
    assert main(["shards", "add-whisper", str(shards), "--out", str(out)]) == 0
    assert "Every clip with audio has features of w" in capsys.readouterr().out
    assert main(["shards", "verify", str(out)]) == 0


def test_mistakes_are_one_line_and_exit_code_2(shards, tmp_path, capsys):
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
    for words in (
        ["show", str(tmp_path / "none")],
        ["verify", str(tmp_path / "none")],
        ["levels", str(shards)],
        ["show"],
        ["show", str(shards), "--out", str(tmp_path / "none")],
        ["show", str(shards), "--clips", "0"],
    ):
        capsys.readouterr()
        assert main(["shards", *words]) == 2, words
        assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(SystemExit) as left:
        main(["shards", "burn", str(shards)])
    assert left.value.code == 2
