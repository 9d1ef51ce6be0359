"""Finding, checking and fetching external weights."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from emo_lightning.core import assets
from emo_lightning.core.errors import UserError


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """An asset of our own, whose official download is a local file."""
    content = b"weights" * 1000
    origin = tmp_path / "origin" / "thing.bin"
    origin.parent.mkdir()
    origin.write_bytes(content)
    asset = assets.Asset(
        name="thing",
        sha256=hashlib.sha256(content).hexdigest(),
        licence="CC0",
        filename="thing.bin",
        packages=(),
        about="a thing",
        url=origin.as_uri(),
    )
    monkeypatch.setattr(assets, "ASSETS", (asset,))
    monkeypatch.setenv(assets.ENVIRONMENT, str(tmp_path / "mine"))
    return asset, origin


def test_face_landmarker_is_found_and_valid() -> None:
    status = {s.asset.name: s for s in assets.list_assets()}["face_landmarker"]
    assert status.valid and status.source in ("package", "user", "download")
    assert assets.locate("face_landmarker") == status.path


def test_package_that_cannot_be_imported_still_serves_its_file(tmp_path, monkeypatch) -> None:
    package = tmp_path / "brokenpackage"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('no')")
    (package / "w.bin").write_bytes(b"x")
    asset = assets.Asset(
        name="w",
        sha256=hashlib.sha256(b"x").hexdigest(),
        licence="MIT",
        filename="w.bin",
        packages=(("brokenpackage", "w.bin", "brokenpackage"),),
        about="w",
    )
    monkeypatch.setattr(assets, "ASSETS", (asset,))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert assets.locate("w") == package / "w.bin"


def test_users_folder_comes_first_and_fetch_fills_it(sample, tmp_path) -> None:
    asset, origin = sample
    with pytest.raises(UserError, match=r"was not found.*emo assets fetch thing"):
        assets.locate("thing")
    fetched = assets.fetch("thing")
    assert fetched == tmp_path / "mine" / "thing.bin"
    assert assets.locate("thing") == fetched
    assert assets.locate("thing", origin) == origin
    assert assets.locate("thing", origin.parent) == origin
    assert [s.valid for s in assets.verify()] == [True]
    assert [p.name for p in fetched.parent.iterdir()] == [asset.filename]


def test_wrong_content_is_refused_and_leaves_nothing(sample, tmp_path) -> None:
    _, origin = sample
    origin.write_bytes(b"other")
    with pytest.raises(UserError, match="another content"):
        assets.locate("thing", origin)
    with pytest.raises(UserError, match="another content"):
        assets.fetch("thing")
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "mine" / "thing.bin").write_bytes(b"bad")
    with pytest.raises(UserError, match="another content"):
        assets.verify()


def test_no_network_and_unknown_names_are_one_line(sample, monkeypatch) -> None:
    asset, origin = sample
    monkeypatch.setattr(
        assets, "ASSETS", (dataclasses.replace(asset, url=origin.with_name("gone").as_uri()),)
    )
    with pytest.raises(UserError, match="could not be downloaded") as caught:
        assets.fetch("thing")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="not a known asset"):
        assets.get("other")
