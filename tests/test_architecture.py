"""Imports go one way: models know no Lightning, stages know no files, metrics know nothing of ours."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGES = ("emo_lightning", "datamodules", "evaluation")
ENTRY_POINTS = (
    "emo_lightning.cli",
    "emo_lightning.commands",
    "emo_lightning.training.train",
    "emo_lightning.inference.generate",
    "emo_lightning.commands.demo",
    "tools.judge_training",
)

FORBIDDEN = {
    "emo_lightning.models": (
        "lightning",
        "pytorch_lightning",
        "webdataset",
        "wandb",
        "datamodules",
        "evaluation",
        "emo_lightning.training",
        "cv2",
        "av",
    ),
    "emo_lightning.losses": (
        "lightning",
        "webdataset",
        "wandb",
        "datamodules",
        "evaluation",
        "emo_lightning.training",
        "emo_lightning.models",
    ),
    "emo_lightning.training": (
        "datamodules",
        "evaluation",
        "webdataset",
        "pathlib",
        "os",
        "io",
        "tarfile",
        "emo_lightning.inference.weights",
    ),
    "emo_lightning.face": (
        "torch",
        "lightning",
        "datamodules",
        "evaluation",
        "emo_lightning.models",
        "emo_lightning.training",
    ),
    "emo_lightning.renderers.mesh": (
        "torch",
        "lightning",
        "datamodules",
        "evaluation",
        "emo_lightning.models",
        "emo_lightning.training",
    ),
    "datamodules": (
        "emo_lightning.models",
        "emo_lightning.training",
        "emo_lightning.losses",
        "evaluation",
    ),
    "evaluation": (
        "emo_lightning.models",
        "emo_lightning.training",
        "emo_lightning.losses",
        "datamodules",
    ),
    "evaluation.metrics": PACKAGES,
    "evaluation.report": ("torch", "lightning", "torchmetrics"),
    "emo_lightning": ("evaluation",),
}


def module_name(path: Path, root: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def inside(name: str, package: str) -> bool:
    """Whether a dotted name is the package or lies in it."""
    return name == package or name.startswith(package + ".")


def sources(repository: Path) -> dict[str, set[str]]:
    """Module -> what it imports, for the three packages."""
    files = [f for package in PACKAGES for f in (repository / package).rglob("*.py")]
    return {module_name(f, repository): imports(f) for f in files}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package: str, repository: Path) -> None:
    """No file of a package imports what lies above it; entry points and a package itself are free."""
    wrong = []
    for module, found in sources(repository).items():
        if not inside(module, package) or any(inside(module, entry) for entry in ENTRY_POINTS):
            continue
        for name in found:
            if any(inside(name, bad) for bad in FORBIDDEN[package]) and not inside(name, package):
                wrong.append(f"{module} imports {name}")
    assert not wrong, wrong


def test_relative_imports_are_not_used(repository: Path) -> None:
    """Absolute imports alone, so that the test above sees every arrow."""
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            levels = [
                n.level
                for n in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                if isinstance(n, ast.ImportFrom)
            ]
            assert not any(levels), file


def test_no_pickle_is_read(repository: Path) -> None:
    """Untrusted data stays data: no pickle module, no torch.load without weights_only, no allow_pickle=True."""
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            assert "import pickle" not in text and "allow_pickle=True" not in text, file
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load":
                    assert any(
                        k.arg == "weights_only" and ast.unparse(k.value) == "True"
                        for k in call.keywords
                    ), (file, call.lineno)
