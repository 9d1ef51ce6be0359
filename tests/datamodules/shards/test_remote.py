"""Remote sets: real servers and commands, and a cache of checked shards only."""

from __future__ import annotations

import http.server
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest

from datamodules.loading.datamodule import AudioShards, VideoShards
from datamodules.shards.remote import CACHE_FOLDER, CACHE_LIMIT, member_address, open_set
from emo_lightning.core.errors import UserError


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, counts what is asked for, and breaks off the first answers when told to."""

    asked: ClassVar[Counter[str]] = Counter()
    broken: ClassVar[dict[str, int]] = {}
    failing: ClassVar[dict[str, list[int]]] = {}

    def do_GET(self):
        name = self.path.partition("?")[0].rpartition("/")[2]
        self.asked[name] += 1
        if self.failing.get(name):
            self.send_error(self.failing[name].pop(0))
            return
        if self.broken.get(name, 0) > 0:
            self.broken[name] -= 1
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        super().do_GET()

    def log_message(self, *words):
        pass


@contextmanager
def served(folder: Path, context: ssl.SSLContext | None = None):
    Handler.asked, Handler.broken, Handler.failing = Counter(), {}, {}
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("datamodules.shards.remote.RETRY_DELAY", 0.01)
    return tmp_path / "cache"


def batches(kind, data: str, **options) -> list[list[str]]:
    shards = kind(data, batch_size=3, epoch_batches=6, **options)
    shards.setup()
    loader = shards.train_dataloader()
    return [batch["key"] for batch in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_set_from_a_server_reads_as_the_folder_does(shard_set, cache, workers):
    with served(shard_set) as address:
        assert batches(AudioShards, address, workers=workers) == batches(
            AudioShards, str(shard_set), workers=workers
        )
        # Each archive came once, however many readers there are, and only those that are read.
        asked = {name: times for name, times in Handler.asked.items() if name != "index.json"}
        assert set(asked.values()) == {1} and all(name.startswith("light-train") for name in asked)
        batches(AudioShards, address)
        assert {
            name: times for name, times in Handler.asked.items() if name != "index.json"
        } == asked
        assert batches(VideoShards, address, size=16) == batches(
            VideoShards, str(shard_set), size=16
        )
    assert Counter(path.suffix for path in cache.iterdir() if path.suffix != ".lock") == {
        ".tar": 6 + 6,
        ".json": 1,
    }


def test_https_with_a_token_in_the_query(shard_set, tmp_path, monkeypatch):
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout key -out cert"
    words += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with served(shard_set, context) as address:
        with pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"):
            open_set(address)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        shards = open_set(f"{address}/?token=a%2Fb")
        with shards.open(shards.index.shards[0]) as file:
            assert len(file.read()) == shards.index.shards[0].bytes
    assert (
        member_address("https://h/set/?token=a%2Fb", "x.tar") == "https://h/set/x.tar?token=a%2Fb"
    )


def test_broken_answers_are_asked_for_again(shard_set):
    with served(shard_set) as address:
        shards = open_set(address)
        name = shards.index.shards[0].name
        Handler.broken = {name: 2}
        with shards.open(shards.index.shards[0]) as file:
            assert file.read() == (shard_set / name).read_bytes()
        assert Handler.asked[name] == 3
        other = shards.index.shards[1]
        Handler.broken = {other.name: 99}
        with pytest.raises(UserError, match="Not enough data"):
            shards.open(other)
    with pytest.raises(UserError, match=r"cannot be read \(.*Cannot connect"):
        open_set(f"{address}/other")


def test_a_server_in_trouble_is_asked_again_and_one_that_refuses_is_not(shard_set):
    with served(shard_set) as address:
        Handler.failing = {"index.json": [500, 503, 429]}
        shards = open_set(address)
        assert Handler.asked["index.json"] == 4
        first, second, third = shards.index.shards[:3]
        Handler.failing = {first.name: [502], second.name: [403], third.name: [500] * 4}
        with shards.open(first) as file:
            assert file.read() == (shard_set / first.name).read_bytes()
        for shard, problem, times in ((second, "403", 1), (third, "500", 4)):
            with pytest.raises(UserError, match=problem):
                shards.open(shard)
            assert Handler.asked[shard.name] == times
        Handler.failing, Handler.broken = {}, {second.name: 1}
        with shards.open(second) as file:
            assert file.read() == (shard_set / second.name).read_bytes()


@pytest.mark.parametrize("workers", [0, 2])
def test_with_a_warm_cache_training_goes_on_while_the_server_is_away(shard_set, tmp_path, workers):
    with served(shard_set) as address:
        before = batches(AudioShards, f"{address}/?key=1", workers=workers)
    with pytest.warns(UserWarning, match="Cannot connect.*going on with the index and shards"):
        assert batches(AudioShards, f"{address}/?key=2", workers=workers) == before
    with pytest.warns(UserWarning, match="going on"):
        absent = open_set(address + "/")
    with pytest.raises(UserError, match=r"video-train-000000.*Cannot connect"):
        absent.open(next(shard for shard in absent.index.shards if shard.set == "video"))
    (tmp_path / "empty").mkdir()
    with served(tmp_path / "empty") as other, pytest.raises(UserError, match="FileNotFoundError"):
        open_set(other)


def test_what_is_no_index_does_not_take_the_place_of_one(shard_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    address = f"pipe:cat {copy}/{{}}"
    open_set(address)
    (copy / "index.json").write_text("<html>please log in</html>")
    with pytest.raises(UserError, match="cannot be read"):
        open_set(address)
    (copy / "index.json").unlink()
    with pytest.warns(UserWarning, match=r"No such file.*going on"):
        assert open_set(address).index.samples == 16


def test_another_content_never_reaches_a_reader(shard_set, tmp_path, cache):
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    shards = open_set(f"pipe:cat {copy}/{{}}")
    first, second = shards.index.shards[:2]
    content = bytearray((copy / first.name).read_bytes())
    content[600] ^= 1
    (copy / first.name).write_bytes(content)
    with pytest.raises(UserError, match="another content"):
        shards.open(first)
    (copy / second.name).write_bytes((copy / second.name).read_bytes() + b"more")
    with pytest.raises(UserError, match="larger"):
        shards.open(second)
    assert [path.suffix for path in cache.iterdir() if path.suffix != ".lock"] == [".json"]


def test_pipe_runs_one_command_without_a_shell(shard_set, tmp_path):
    spaced = tmp_path / "a set; touch x"
    shutil.copytree(shard_set, spaced)
    shards = open_set(f"pipe:cat '{spaced}/{{}}'")
    assert shards.cache is not None and shards.index.samples == 16
    with shards.open(shards.index.shards[0]) as file:
        assert file.read(4) == b"clip"
    assert batches(AudioShards, f"pipe:cat '{spaced}/{{}}'", workers=1) == batches(
        AudioShards, str(shard_set), workers=1
    )
    for wrong, problem in (
        ("pipe:cat index.json", "has no {}"),
        ("pipe:", "has no {}"),
        ("pipe:cat {} | gunzip", "no shell runs it"),
        ("pipe:cat '{}", "cannot be split"),
        ("pipe:no-such-command-here {}", "cannot be run"),
        (f"pipe:cat {tmp_path}/none/{{}}", "No such file"),
        (f"pipe:{sys.executable} -c pass {{}}", "cannot be read"),
    ):
        with pytest.raises(UserError, match=problem):
            open_set(wrong)


class Bucket(fsspec.implementations.local.LocalFileSystem):
    """Stands for s3fs: objects of BUCKET lie in a folder; a bucket it does not know is refused."""

    folder: ClassVar[Path]

    def get_file(self, rpath, lpath, callback=None, **options):
        bucket, _, key = rpath.partition("://")[2].partition("/")
        if bucket != "bucket":
            raise PermissionError("AccessDenied: not yours")
        path = self.folder / key.removeprefix("a/set/")
        shutil.copyfile(path, lpath)
        callback.relative_update(path.stat().st_size)


def test_object_stores_are_read_through_fsspec(shard_set, monkeypatch):
    if not importlib.util.find_spec("s3fs"):
        with pytest.raises(UserError, match=r"needs a package.*pip install 'emo-lightning\[remote"):
            open_set("s3://bucket/a/set")
    Bucket.folder = shard_set
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Bucket)
    shards = open_set("s3://bucket/a/set/")
    with shards.open(shards.index.shards[0]) as file:
        assert file.read() == (shard_set / shards.index.shards[0].name).read_bytes()
    with pytest.raises(UserError, match="AccessDenied: not yours"):
        open_set("s3://another/a/set")
    with pytest.raises(UserError, match="FileNotFoundError"):
        open_set("s3://bucket/none")


def test_wrong_addresses_are_named_at_start_up(shard_set, tmp_path, monkeypatch):
    for wrong in ("ftp://host/set", "azure://bucket/set", "file:///set"):
        with pytest.raises(UserError, match=r"protocol that is not known.*https://, s3://"):
            AudioShards(wrong).setup()
    with served(tmp_path) as address, pytest.raises(UserError, match="FileNotFoundError"):
        AudioShards(f"{address}/none").setup()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "index.json").write_text("<html>")
    with served(tmp_path) as address, pytest.raises(UserError, match="cannot be read"):
        AudioShards(f"{address}/bad").setup()
    record = json.loads((shard_set / "index.json").read_text())
    record["shards"][0]["name"] = "-rf"
    (tmp_path / "bad" / "index.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="plain names"):
        open_set(f"pipe:cat {tmp_path}/bad/{{}}")
    monkeypatch.setenv(CACHE_LIMIT, "much")
    with pytest.raises(UserError, match="GB above 0"):
        open_set(f"pipe:cat {shard_set}/{{}}")


def test_the_cache_makes_room_for_what_is_used(shard_set, cache):
    sizes = [shard.bytes for shard in open_set(shard_set).index.shards]
    shards = open_set(
        f"pipe:cat {shard_set}/{{}}", cache_gb=(sizes[0] + sizes[1] + sizes[2] - 1) / 1e9
    )
    first, second, third = shards.index.shards[:3]
    for number, shard in enumerate((first, second)):
        shards.open(shard).close()
        os.utime(shards.path(shard), (number, number))
    shards.open(first).close()
    shards.open(third).close()
    assert [shards.path(shard).exists() for shard in (first, second, third)] == [True, False, True]
    shards.open(second).close()
    assert shards.path(second).exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_set_that_goes_away_is_named_from_whichever_process(shard_set, tmp_path, workers):
    copy = tmp_path / "copy"
    shutil.copytree(shard_set, copy)
    shards = AudioShards(f"pipe:cat {copy}/{{}}", workers=workers)
    shards.setup()
    shutil.rmtree(copy)
    with pytest.raises(UserError, match=r"light-train.*No such file") as caught:
        list(shards.train_dataloader())
    assert caught.value.argument == "data"
