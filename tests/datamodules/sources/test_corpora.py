"""Corpora by their own names: what each file says, what is told instead of guessed, and archives that are not trusted."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from datamodules.shards.splits import assign_splits
from datamodules.sources import Clip, Rejected, Stored, open_source
from datamodules.sources.cremad import read_votes
from datamodules.sources.grid import GridRecord
from datamodules.sources.hdtf import HdtfRecord
from datamodules.sources.labels import EMOTION_OF, INTENSITY_OF, table
from datamodules.sources.mead import MeadRecord
from datamodules.sources.ravdess import RavdessRecord
from emo_lightning.core.errors import UserError
from emo_lightning.motion.emotions import EMOTIONS


def files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"bytes of " + name.encode())
    return root


def listed(name: str, root: Path, **options) -> tuple[dict[str, Clip], dict[str, str], list[str]]:
    source = open_source(name, root, **options)
    items = list(source.clips())
    clips = {item.name: item for item in items if isinstance(item, Clip)}
    return (
        clips,
        {item.name: item.reason for item in items if isinstance(item, Rejected)},
        source.notes,
    )


def test_the_table_maps_every_code_to_one_of_ours():
    for corpus, codes in EMOTION_OF.items():
        assert set(codes.values()) <= set(EMOTIONS), corpus
        assert set(INTENSITY_OF[corpus].values()) <= {1, 2, 3, None}, corpus
    assert set(EMOTION_OF["mead"].values()) == set(EMOTIONS)
    rows = {line.split("  ")[0]: line.split() for line in table().splitlines() if line}
    assert rows["surprised"] == ["surprised", "surprised", "-", "08", "-", "-"] and rows["neutral"][
        3:5
    ] == ["01,", "02"]
    assert rows["intensity 2"][2:] == ["2", "MD", "01", "-", "-"]


@pytest.mark.parametrize(
    "name",
    ["M003/video/front/bored/level_1/001.mp4", "M003/video/front/angry/level_4/001.mp4", "X003/video/front/angry/level_1/001.mp4",
     "M003/video/above/angry/level_1/001.mp4", "M003/video/front/angry/level_1/1.mp4", "M003_angry_1_001.mp4", "angry.mp4"],
)  # fmt: skip
def test_mead_does_not_guess(tmp_path, name):
    assert MeadRecord.parse(name) is None
    files(tmp_path, name, "W009/video/front/sad/level_2/015.mp4")
    clips, rejected, _ = listed("mead", tmp_path)
    assert rejected == {name: "naming"} and list(clips) == ["W009/video/front/sad/level_2/015.mp4"]


def test_mead_reads_its_own_folders(tmp_path):
    files(
        tmp_path,
        "M003/video/front/disgusted/level_1/015.mp4",
        "M003/video/left_30/disgusted/level_1/015.mp4",
        "M003/audio/disgusted/level_1/015.m4a",
        "Part0/W009/video/front/neutral/level_1/002.mp4",
        "W023/audio/happy/level_3/004.m4a",
        "flat/W011_top_surprised_level3_001.mp4",
        "M003/readme.txt",
    )
    clips, rejected, notes = listed("mead", tmp_path)
    assert rejected == {} and notes == ["2 videos of other views than front were skipped"]
    first = clips["M003/video/front/disgusted/level_1/015.mp4"]
    assert (first.speaker, first.emotion, first.intensity, first.sentence, first.split) == (
        "M003",
        "disgusted",
        1,
        "disgusted-015",
        "test",
    )
    assert (
        first.audio == tmp_path / "M003/audio/disgusted/level_1/015.m4a"
        and first.extra["view"] == "front"
    )
    neutral = clips["Part0/W009/video/front/neutral/level_1/002.mp4"]
    assert (neutral.emotion, neutral.intensity, neutral.sentence, neutral.split) == (
        "neutral",
        None,
        "common-002",
        None,
    )
    assert clips["W023/audio/happy/level_3/004.m4a"].path is None
    every, _, notes = listed("mead", tmp_path, views=("all",))
    assert len(every) == 5 and notes == []
    assert every["flat/W011_top_surprised_level3_001.mp4"].extra["view"] == "top"
    with pytest.raises(UserError, match="names no view"):
        open_source("mead", tmp_path, ("sideways",))
    with pytest.raises(UserError, match="does not apply to grid"):
        open_source("grid", tmp_path, ("front",))


def test_mead_test_sentences_and_speakers_stay_out_of_training(tmp_path):
    neutral = [f"neutral/level_1/{n:03d}" for n in (1, 30, 31, 40)]
    others = [
        f"{e}/level_{level}/{n:03d}"
        for e in ("sad", "fear")
        for level in (1, 3)
        for n in (1, 24, 25, 30)
    ]
    # By the hash of their names.
    assert assign_splits(["W011", "W009", "W018"]) == {
        "W011": "train",
        "W009": "val",
        "W018": "test",
    }
    files(
        tmp_path,
        *(
            f"{s}/video/front/{name}.mp4"
            for s in ("M003", "W011", "W009", "W018")
            for name in neutral + others
        ),
    )
    files(tmp_path, "W040/video/front/happy/level_3/029.mp4")
    clips, rejected, notes = listed("mead", tmp_path)
    # Nobody's clip is a failure: what is left out is counted.
    assert rejected == {} and notes == [
        "20 clips of MEAD's test sentences were skipped: their speakers are not in the test split"
    ]
    by_speaker = {
        s: {n.partition("front/")[2][:-4] for n in clips if n.startswith(s)}
        for s in ("M003", "W011", "W009", "W018", "W040")
    }
    trained = {
        "neutral/level_1/001",
        "neutral/level_1/030",
        *(name for name in others if name.endswith(("001", "024"))),
    }
    assert (
        by_speaker["M003"] == by_speaker["W018"] == {*neutral, *others}
        and by_speaker["W011"] == by_speaker["W009"] == trained
    )
    assert {clip.split for clip in clips.values() if clip.speaker in ("M003", "W018", "W040")} == {
        "test"
    }
    assert {clip.split for clip in clips.values() if clip.speaker in ("W011", "W009")} == {None}
    marked = {name for name, clip in clips.items() if clip.extra.get("test_sentence")}
    assert marked == {
        name
        for name in clips
        if name[-7:-4] in ("031", "040", "025", "030", "029") and "neutral/level_1/030" not in name
    }


def test_another_list_of_test_sentences_takes_the_place_of_the_authors(tmp_path):
    names = [
        f"{s}/video/front/{e}/level_2/{n}.mp4"
        for s in ("M003", "W009")
        for e in ("sad", "fear")
        for n in ("001", "020", "030")
    ]
    files(tmp_path, *names)
    (tmp_path / "test_sentences.txt").write_text("# held out\n001\nfear   020\n")
    clips, rejected, _ = listed("mead", tmp_path)
    assert {name for name in clips if name.startswith("M003")} == {
        name for name in names if name.startswith("M003")
    }
    left_out = {"fear/level_2/001", "fear/level_2/020", "sad/level_2/001"}
    assert (
        set(names) - set(clips) == {f"W009/video/front/{name}.mp4" for name in left_out}
        and rejected == {}
    )
    (tmp_path / "test_sentences.txt").write_text("# nothing is held out\n")
    assert set(listed("mead", tmp_path)[0]) == set(names)
    (tmp_path / "test_sentences.txt").write_text("the quick brown fox\n")
    with pytest.raises(UserError, match=r"test_sentences\.txt"):
        open_source("mead", tmp_path)


def archived(path: Path, members: dict[str, bytes], links: tuple[str, ...] = ()) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)


def test_mead_reads_its_own_archives_and_takes_no_path_from_them(tmp_path):
    root, out = tmp_path / "MEAD", tmp_path / "out"
    out.mkdir()
    good = "video/front/angry/level_1/001.mp4"
    hostile = (
        "../../escaped/M003/video/front/angry/level_1/002.mp4",
        "/tmp/M003/video/front/angry/level_1/003.mp4",
    )
    archived(
        root / "M003" / "video.tar",
        {good: b"tar", **dict.fromkeys(hostile, b"x"), "notes.txt": b""},
        ("video/link.mp4",),
    )
    with zipfile.ZipFile(root / "M003" / "audio.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("audio/angry/level_1/001.m4a", b"zip" * 1000)
    files(root, "W009/video.tar.gz", "W011/video.tar")
    clips, rejected, _ = listed("mead", root)
    assert list(clips) == [f"M003/{good}"]
    clip = clips[f"M003/{good}"]
    assert (
        isinstance(clip.path, Stored) and isinstance(clip.audio, Stored) and clip.emotion == "angry"
    )
    clip.path.copy_to(out / "video.mp4")
    clip.audio.copy_to(out / "audio.m4a")
    assert (out / "video.mp4").read_bytes() == b"tar" and (
        out / "audio.m4a"
    ).read_bytes() == b"zip" * 1000
    reasons = Counter(rejected.values())
    assert reasons == {"unsafe_name": 2, "archive": 3}
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()) == [
        "MEAD/M003/audio.zip", "MEAD/M003/video.tar", "MEAD/W009/video.tar.gz", "MEAD/W011/video.tar", "out/audio.m4a", "out/video.mp4",
    ]  # fmt: skip


def test_a_clip_loose_and_in_an_archive_is_one(tmp_path):
    files(tmp_path, "M003/video/front/angry/level_1/001.mp4")
    archived(tmp_path / "M003" / "video.tar", {"video/front/angry/level_1/001.mp4": b"again"})
    clips, rejected, _ = listed("mead", tmp_path)
    assert len(clips) == 1 and list(rejected.values()) == ["duplicate"]


def test_an_archive_cut_short_loses_only_what_it_lacks(tmp_path):
    path = tmp_path / "M003" / "video.tar"
    archived(path, {f"video/front/angry/level_1/{n:03d}.mp4": b"v" * 40_000 for n in range(1, 4)})
    path.write_bytes(path.read_bytes()[:100_000])
    clips, rejected, _ = listed("mead", tmp_path)
    assert len(clips) + len(rejected) >= 1 and all(
        item.path.size == 40_000 for item in clips.values()
    )
    assert set(rejected.values()) <= {"archive"} and rejected


def test_cremad_names_and_votes(tmp_path):
    files(
        tmp_path,
        "VideoFlash/1001_IEO_HAP_LO.flv",
        "AudioWAV/1001_IEO_HAP_LO.wav",
        "AudioMP3/1001_IEO_HAP_LO.mp3",
        "AudioWAV/1002_DFA_ANG_XX.wav",
        "VideoFlash/1002_DFA_NEU_XX.flv",
        "VideoFlash/1040_ITH_SAD_X.flv",
        "VideoFlash/1001_ABC_SAD_HI.flv",
    )
    (tmp_path / "processedResults").mkdir()
    rows = [
        '"","A","D","F","H","N","S","fileName"',
        '"100002",0,0,0,3,6,1,"1001_IEO_HAP_LO"',
        '"300002",0,0,0,4,0,0,"1001_IEO_HAP_LO"',
    ]
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text("\n".join(rows) + "\n")
    clips, rejected, notes = listed("cremad", tmp_path)
    assert (
        rejected
        == {"VideoFlash/1040_ITH_SAD_X.flv": "naming", "VideoFlash/1001_ABC_SAD_HI.flv": "naming"}
        and notes == []
    )
    happy = clips["VideoFlash/1001_IEO_HAP_LO.flv"]
    assert (happy.speaker, happy.emotion, happy.intensity, happy.sentence) == (
        "1001",
        "happy",
        1,
        "It's eleven o'clock.",
    )
    assert happy.audio == tmp_path / "AudioWAV/1001_IEO_HAP_LO.wav"
    assert happy.extra["votes"] == {
        "voice": {"happy": 0.3, "neutral": 0.6, "sad": 0.1},
        "both": {"happy": 1.0},
    }
    angry = clips["AudioWAV/1002_DFA_ANG_XX.wav"]
    assert (angry.path, angry.emotion, angry.intensity) == (
        None,
        "angry",
        None,
    ) and "votes" not in angry.extra
    assert clips["VideoFlash/1002_DFA_NEU_XX.flv"].intensity is None
    (tmp_path / "processedResults" / "tabulatedVotes.csv").write_text("no,table\n1,2\n")
    with pytest.raises(UserError, match="tabulatedVotes"):
        open_source("cremad", tmp_path)


def test_cremad_s_own_summary_gives_shares(shared_data):
    votes = read_votes(shared_data / "cremad_labels")
    assert len(votes) == 7442
    assert votes["1001_IEO_NEU_XX"] == {
        "voice": {"neutral": 1.0},
        "face": {"neutral": 1.0},
        "both": {"neutral": 1.0},
    }
    assert all(
        abs(sum(shares.values()) - 1) < 0.01 for clip in votes.values() for shares in clip.values()
    )


def test_ravdess_joins_the_files_of_a_take(tmp_path):
    files(
        tmp_path,
        "Actor_12/01-01-06-02-02-01-12.mp4",
        "Actor_12/02-01-06-02-02-01-12.mp4",
        "Audio/Actor_12/03-01-06-02-02-01-12.wav",
        "Actor_12/02-01-02-01-01-02-12.mp4",
        "Audio/Actor_12/03-01-02-01-01-02-12.wav",
        "Audio/Actor_03/03-01-05-01-01-01-03.wav",
        "Audio/Actor_03/03-02-05-01-01-01-03.wav",
        "Audio/Actor_03/03-01-09-01-01-01-03.wav",
        "Audio/Actor_03/03-01-05-01-01-01-25.wav",
        "Audio/Actor_03/03-01-01-02-01-01-03.wav",
        "Audio/Actor_03/take 4.wav",
    )
    clips, rejected, notes = listed("ravdess", tmp_path)
    fear, calm = (
        clips["Actor_12/01-01-06-02-02-01-12.mp4"],
        clips["Actor_12/02-01-02-01-01-02-12.mp4"],
    )
    angry = clips["Audio/Actor_03/03-01-05-01-01-01-03.wav"]
    assert len(clips) == 3 and notes == ["1 files of song were skipped"]
    assert (fear.speaker, fear.emotion, fear.intensity, fear.sentence) == (
        "Actor_12",
        "fear",
        3,
        "Dogs are sitting by the door",
    )
    assert (calm.emotion, calm.intensity, calm.extra["label"]) == (
        "neutral",
        None,
        "calm normal",
    ) and calm.audio is not None
    assert (angry.path, angry.emotion, angry.intensity) == (None, "angry", 2)
    # No such emotion, no such actor, neutral acted strongly, no code at all.
    assert set(rejected.values()) == {"naming"} and len(rejected) == 4
    assert (fear.extra["sex"], angry.extra["sex"]) == ("female", "male")
    assert RavdessRecord.parse("03-01-05-01-01-01-00.wav") is None


def test_grid_reads_sentence_and_word_times(tmp_path):
    root = tmp_path / "grid_s1"
    files(
        root,
        "bbaf2n.mp4",
        "lwbz1s.mpg",
        "s2/pgid9a.mp4",
        "hello.mp4",
        "s35/bbaf2n.mp4",
        "lwbw1s.mp4",
        "sgwp4n.align",
    )
    (root / "bbaf2n.align").write_text("0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 at\n35500 41000 f\n41000 47250 two\n"
                                       "47250 53000 now\n53000 74500 sil\n")  # fmt: skip
    (root / "lwbz1s.align").write_text("0 10000 bin\n10000 20000 blue\n")
    (root / "s2" / "pgid9a.align").write_text("0 one two three\n")
    clips, rejected, _ = listed("grid", root)
    # GRID has 34 speakers and no letter w.
    assert rejected == {
        "hello.mp4": "naming",
        "lwbw1s.mp4": "naming",
        "s35/bbaf2n.mp4": "naming",
        "lwbz1s.align": "bad_alignment",
        "s2/pgid9a.align": "bad_alignment",
        "sgwp4n.align": "no_video",
    }
    first = clips["bbaf2n.mp4"]
    assert (first.speaker, first.sentence, first.emotion) == ("s1", "bin blue at f two now", None)
    assert first.words[1] == (0.95, 1.18, "bin") and len(first.words) == 8
    assert (
        clips["lwbz1s.mpg"].sentence == "lay white by z one soon"
        and clips["lwbz1s.mpg"].words == ()
    )
    assert clips["s2/pgid9a.mp4"].speaker == "s2" and clips["s2/pgid9a.mp4"].words == ()
    assert GridRecord.parse("clips/bbaf2n.mpg", "data") is None


def test_hdtf_lists_cut_long_videos(tmp_path):
    files(tmp_path, "BarackObama1.mp4", "WDA_AmyKlobuchar1_003.mp4", "WDA_AmyKlobuchar1_004.mp4", "RD_Radio11_001.mp4", "holiday 3.mp4",
          "Nobody.mp4", "AmyKlobuchar1_0.mp4")  # fmt: skip
    (tmp_path / "HDTF_dataset").mkdir()
    rows = "AmyKlobuchar1.mp4 00:35-02:45 03:25-04:00 05:05-06:05 06:45-07:40\nBarackObama1.mp4 00:02-02:25 03:00-1:06:45.5\n"
    (tmp_path / "HDTF_dataset" / "WDA_annotion_time.txt").write_text(rows, encoding="utf-8-sig")
    clips, rejected, _ = listed("hdtf", tmp_path)
    assert {name: clip.span for name, clip in clips.items()} == {
        "BarackObama1.mp4#0": (2.0, 145.0),
        "BarackObama1.mp4#1": (180.0, 4005.5),
        "WDA_AmyKlobuchar1_003.mp4": None,
        "RD_Radio11_001.mp4": None,
        "AmyKlobuchar1_0.mp4": None,
    }
    assert {clip.speaker for clip in clips.values()} == {"BarackObama", "AmyKlobuchar", "Radio11"}
    assert rejected == {
        "WDA_AmyKlobuchar1_004.mp4": "not_listed",
        "holiday 3.mp4": "naming",
        "Nobody.mp4": "not_listed",
    }
    (tmp_path / "HDTF_dataset" / "WDA_annotion_time.txt").write_text(
        "BarackObama1.mp4 00:20-00:10\n"
    )
    with pytest.raises(UserError, match="line 1"):
        open_source("hdtf", tmp_path)


def test_hdtf_without_lists_takes_only_clips_of_its_naming(tmp_path):
    files(tmp_path, "WRA_MarcoRubio_000.mp4", "BarackObama.mp4", "videoretalking_1.mp4")
    clips, rejected, _ = listed("hdtf", tmp_path)
    assert list(clips) == ["WRA_MarcoRubio_000.mp4"] and set(rejected.values()) == {"not_listed"}
    assert HdtfRecord.parse("cnn2_25fps.mp4") is None


REAL = [
    ("mead", "MEAD", 3),
    ("mead", "mead_coeffs", 16),
    ("grid", "grid_s1", 401),
    ("ravdess", "ravdess_16k", 176),
]


@pytest.mark.parametrize(("source", "folder", "count"), REAL)
def test_real_corpora_are_read_whole(shared_data, source, folder, count):
    clips, rejected, _ = listed(source, shared_data / folder)
    assert len(clips) == count and rejected == {}


def test_mead_unpacked_twice_and_from_a_speakers_folder(tmp_path):
    """video.tar unpacked into a folder of its name, and --root at the speaker or above."""
    for part in ("video/video/front/angry/level_1/001.mp4", "audio/audio/angry/level_1/001.m4a"):
        path = tmp_path / "b" / "M005" / part
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    for root, name in (
        (tmp_path / "b", "M005/video/video/front/angry/level_1/001.mp4"),
        (tmp_path / "b" / "M005", "video/video/front/angry/level_1/001.mp4"),
        (tmp_path / "b" / "M005" / "video", "video/front/angry/level_1/001.mp4"),
    ):
        clips, rejected, _ = listed("mead", root)
        assert rejected == {} and list(clips) == [name]
        assert (clips[name].speaker, clips[name].emotion) == ("M005", "angry")
    assert (
        listed("mead", tmp_path / "b")[0]["M005/video/video/front/angry/level_1/001.mp4"].audio.name
        == "001.m4a"
    )
