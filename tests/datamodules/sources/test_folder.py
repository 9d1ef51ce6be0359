"""Plain folders: what is a clip, who speaks, where the sound is, and what a manifest may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.sources import Clip, Rejected, open_source
from emo_lightning.core.errors import UserError


def folder(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def listed(root: Path) -> tuple[dict[str, Clip], dict[str, str]]:
    items = list(open_source("folder", root).clips())
    clips = {item.name: item for item in items if isinstance(item, Clip)}
    return clips, {item.name: item.reason for item in items if isinstance(item, Rejected)}


def test_speakers_come_from_the_top_folder_or_the_name(tmp_path):
    folder(
        tmp_path,
        "M003/video/front/angry/015.mp4",
        "video/W009.MOV",
        "alone.mkv",
        ".hidden/x.mp4",
        "notes.txt",
        "pic.png",
    )
    clips, rejected = listed(tmp_path)
    speakers = {name: clip.speaker for name, clip in clips.items()}
    assert speakers == {
        "M003/video/front/angry/015.mp4": "M003",
        "alone.mkv": "alone",
        "video/W009.MOV": "W009",
    }
    assert rejected == {} and all(
        clip.emotion is None and clip.split is None for clip in clips.values()
    )
    assert list(clips) == sorted(clips)


def test_recordings_join_their_videos_and_lonely_ones_are_reported(tmp_path):
    folder(
        tmp_path,
        "video/a.mp4",
        "wav/a.wav",
        "b/v.mp4",
        "b/v.wav",
        "c/v.wav",
        "c/w.mp4",
        "d/w.wav",
        "e/w.flac",
        "song.mp3",
    )
    clips, rejected = listed(tmp_path)
    companions = {
        name: clip.audio and clip.audio.relative_to(tmp_path).as_posix()
        for name, clip in clips.items()
    }
    # Two recordings called w, neither beside its video: there is no telling which.
    assert companions == {"video/a.mp4": "wav/a.wav", "b/v.mp4": "b/v.wav", "c/w.mp4": None}
    assert rejected == {"song.mp3": "no_video"}


def test_links_to_folders_are_not_followed(tmp_path):
    folder(tmp_path, "data/real/a.mp4", "elsewhere/b.mp4")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data", target_is_directory=True)
    assert list(listed(tmp_path / "data")[0]) == ["real/a.mp4"]


def test_a_manifest_says_what_the_clips_are(tmp_path):
    folder(tmp_path, "x/a.mp4", "x/b.mp4", "x/c.mp4", "x/c.wav", "x/d.wav", "unlisted.mp4")
    rows = [
        "path, speaker,emotion,intensity,level,sentence,split,audio",
        'x/a.mp4,anna,happy,3,12.5,"Hello, you",val,',
        "x/c.mp4,,,,,,,x/c.wav",
        "x/b.mp4,bob,bored,,,,,",
        "x/b.mp4,bob,sad,4,,,,",
        "x/b.mp4,bob,sad,,16,,,",
        "x/b.mp4,bob,sad,,,,everything,",
        "x/none.mp4,bob,,,,,,",
        "../outside.mp4,bob,,,,,,",
        "/etc/passwd,bob,,,,,,",
        "x/a.mp4,anna,,,,,,",
        "x/d.wav,dora,sad,1,,,,",
        "x/d.wav,dora,sad,1,,,,x/c.wav",
    ]
    (tmp_path / "manifest.csv").write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path.parent / "outside.mp4").write_bytes(b"x")
    source = open_source("folder", tmp_path)
    items = list(source.clips())
    clips = {item.name: item for item in items if isinstance(item, Clip)}
    assert set(clips) == {"x/a.mp4", "x/c.mp4", "x/d.wav"} and source.notes == [
        "2 videos below the root are not in manifest.csv"
    ]
    a, c, d = clips["x/a.mp4"], clips["x/c.mp4"], clips["x/d.wav"]
    assert (d.path, d.audio, d.emotion) == (None, tmp_path / "x/d.wav", "sad")
    assert (a.speaker, a.emotion, a.intensity, a.level, a.sentence, a.split) == (
        "anna",
        "happy",
        3,
        12.5,
        "Hello, you",
        "val",
    )
    assert (c.speaker, c.emotion, c.split) == ("x", None, None) and c.audio == tmp_path / "x/c.wav"
    reasons = [(item.reason, item.detail) for item in items if isinstance(item, Rejected)]
    assert [reason for reason, _ in reasons] == ["bad_manifest"] * 7 + ["duplicate", "bad_manifest"]
    assert all(
        word in reasons[i][1]
        for i, word in enumerate(
            ["bored", "intensity", "16", "everything", "not exist", "out of", "out of"]
        )
    )


@pytest.mark.parametrize("text", ["", "speaker,emotion\nanna,sad\n", "path,Path\nx.mp4,y.mp4\n"])
def test_a_manifest_that_is_no_such_table_is_refused(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(UserError, match="column path"):
        open_source("folder", tmp_path)


def test_names_and_roots_are_checked(tmp_path):
    with pytest.raises(UserError, match="accepted: folder"):
        open_source("folders", tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        open_source("folder", tmp_path / "none")
    folder(tmp_path, "file.mp4")
    with pytest.raises(UserError, match="is a file"):
        open_source("folder", tmp_path / "file.mp4")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Path;Speaker;Emotion;Take\nx/a.mp4;anna;Happiness;7\n", "utf-8"),
        ("path\tSPEAKER\temotion\ttake\r\nx/a.mp4\tanna\thappy\t7\r\n", "utf-16"),
        ('\ufeffpath,speaker,emotion,take\n"x/a.mp4",anna,Joy,7\n', "utf-8"),
    ],
)
def test_manifests_of_spreadsheets_are_read(tmp_path, text, encoding):
    folder(tmp_path, "x/a.mp4")
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
    source = open_source("folder", tmp_path)
    (clip,) = source.clips()
    assert (clip.name, clip.speaker, clip.emotion) == ("x/a.mp4", "anna", "happy")
    assert source.notes == ["columns of manifest.csv that are ignored: take"]


def test_bad_rows_are_named_with_their_line(tmp_path):
    folder(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "manifest.csv").write_text(
        "path,emotion\na.mp4,disgust\nb.mp4,suprised\nc.mp4,sad,more\n"
    )
    clip, *rejected = open_source("folder", tmp_path).clips()
    assert clip.emotion == "disgusted"
    assert [item.reason for item in rejected] == ["bad_manifest"] * 2
    assert (
        "line 3: emotion 'suprised' is not an emotion; did you mean surprised?"
        in rejected[0].detail
    )
    assert "line 4: " in rejected[1].detail and "more cells" in rejected[1].detail


def test_manifests_in_another_encoding_and_pointers_are_refused_with_the_line(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(
        "path,speaker\na.mp4,anna\nb.mp4,jos\xe9\n".encode("latin-1")
    )
    with pytest.raises(UserError, match="line 3 is not UTF-8"):
        open_source("folder", tmp_path)
    (tmp_path / "manifest.csv").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    with pytest.raises(UserError, match="is a Git LFS pointer; run git lfs pull"):
        open_source("folder", tmp_path)
