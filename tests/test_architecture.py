"""The architecture as a table: which package may import which, and what no file may do."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest

LAYERS = (
    ("emo_lightning.core",),
    ("emo_lightning.media",),
    ("emo_lightning.face",),
    ("emo_lightning.motion",),
    ("emo_lightning.models", "emo_lightning.losses"),
    ("emo_lightning.renderers",),
    ("emo_lightning.inference",),
    ("datamodules.shards",),
    ("datamodules.sources",),
    ("datamodules.preprocessing", "datamodules.corpus", "datamodules.loading"),
    ("datamodules.dataset_report",),
    ("emo_lightning.calibration", "emo_lightning.training", "evaluation"),
    ("emo_lightning.commands", "emo_lightning.studio"),
    ("emo_lightning.cli",),
)
"""Lower layers first: a package imports itself and what stands in rows before its own."""

EVALUATION = (
    ("evaluation.metrics", "evaluation.protocol", "evaluation.records"),
    ("evaluation.judges",),
    ("evaluation.suite",),
    ("evaluation.report",),
    ("evaluation.runner",),
)
"""The same inside the evaluation."""

FORBIDDEN = {
    "emo_lightning.core": ("lightning", "cv2", "av"),
    "emo_lightning.face": ("torch", "lightning"),
    "emo_lightning.models": (
        "lightning",
        "webdataset",
        "wandb",
        "cv2",
        "av",
        "emo_lightning.media",
    ),
    "emo_lightning.losses": (
        "lightning",
        "webdataset",
        "wandb",
        "cv2",
        "av",
        "emo_lightning.media",
    ),
    "emo_lightning.renderers.mesh": ("torch", "lightning"),
    "evaluation.metrics": ("emo_lightning", "datamodules", "evaluation.judges"),
    "evaluation.report": ("torch", "lightning", "torchmetrics"),
}
"""Libraries and packages that a package does without, whatever its layer allows."""

PACKAGES = ("emo_lightning", "datamodules", "evaluation")
MAX_ROOT_MODULES = 3
THIN_ENTRY_POINTS = ("emo_lightning.__main__", "emo_lightning.train", "emo_lightning")


def module_name(path: Path, root: Path) -> str:
    """Dotted name of a source file."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, wherever in the file."""
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
    """Module -> what it imports, for the installed packages."""
    files = [f for package in PACKAGES for f in (repository / package).rglob("*.py")]
    return {module_name(f, repository): imports(f) for f in files}


def layer_of(name: str, layers: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """Index of the layer that a module is in, and its package there."""
    for index, packages in enumerate(layers):
        for package in packages:
            if inside(name, package):
                return index, package
    return None


@pytest.mark.parametrize("layers", [LAYERS, EVALUATION], ids=["project", "evaluation"])
def test_imports_go_one_way(layers: tuple[tuple[str, ...], ...], repository: Path) -> None:
    wrong = []
    for module, found in sources(repository).items():
        mine = layer_of(module, layers)
        for name in found if mine else ():
            other = layer_of(name, layers)
            if mine and other and other[1] != mine[1] and other[0] >= mine[0]:
                wrong.append(f"{module} imports {name}")
    assert not wrong, "\n".join(sorted(wrong))


def test_every_module_has_a_layer(repository: Path) -> None:
    """No file is outside the table, but the package's own and its thin entry points."""
    free = {*PACKAGES, *THIN_ENTRY_POINTS}
    lost = [m for m in sources(repository) if m not in free and layer_of(m, LAYERS) is None]
    assert not [m for m in lost if m.count(".") > 1 or not m.startswith("datamodules")], lost


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_do_without(package: str, repository: Path) -> None:
    wrong = [
        f"{module} imports {name}"
        for module, found in sources(repository).items()
        if inside(module, package)
        for name in found
        if any(inside(name, bad) for bad in FORBIDDEN[package])
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_packages_have_no_cycles(repository: Path) -> None:
    """Folders that hold modules import each other in one direction only."""
    edges: dict[str, set[str]] = {}
    modules = sources(repository)
    for module, found in modules.items():
        here = module.rsplit(".", 1)[0]
        for name in found & modules.keys():
            there = name.rsplit(".", 1)[0]
            if there != here and not inside(here, there) and not inside(there, here):
                edges.setdefault(here, set()).add(there)
    seen: dict[str, int] = {}

    def walk(package: str, path: tuple[str, ...]) -> None:
        assert package not in path, " -> ".join((*path[path.index(package) :], package))
        if seen.get(package):
            return
        for other in sorted(edges.get(package, ())):
            walk(other, (*path, package))
        seen[package] = 1

    for package in sorted(edges):
        walk(package, ())


@pytest.mark.parametrize("package", PACKAGES)
def test_the_roots_hold_folders(package: str, repository: Path) -> None:
    files = sorted(f.name for f in (repository / package).glob("*.py") if f.stem != "__init__")
    assert len(files) <= MAX_ROOT_MODULES, files


def test_relative_imports_are_not_used(repository: Path) -> None:
    """Absolute imports alone, so that the tests above see every edge."""
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            assert not any(n.level for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)), file


def test_no_pickle_is_read(repository: Path) -> None:
    """Untrusted data stays data: no pickle, weights_only in each torch.load, no allow_pickle."""
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            for unsafe in ("pickle.load", "Unpickler", "allow_pickle=True", "joblib.load"):
                assert unsafe not in text, (file, unsafe)
            for call in ast.walk(ast.parse(text)):
                if isinstance(call, ast.Call) and ast.unparse(call.func) == "torch.load":
                    safe = [k for k in call.keywords if k.arg == "weights_only"]
                    assert safe and ast.unparse(safe[0].value) == "True", (file, call.lineno)


def test_class_names_are_unique(repository: Path) -> None:
    """One word, one meaning: a class name occurs once in the installed packages."""
    names = sorted(
        (node.name, str(file.relative_to(repository)))
        for package in PACKAGES
        for file in (repository / package).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    )
    assert not [(a, b) for a, b in pairwise(names) if a[0] == b[0]]


def test_functions_stay_small(repository: Path) -> None:
    """At most 60 lines and 8 parameters, numba kernels excepted; nesting at most 4 blocks."""
    wrong = []
    for package in PACKAGES:
        for file in (repository / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    wrong += oversize(node, str(file.relative_to(repository)))
    assert not wrong, "\n".join(wrong)


def oversize(node: ast.FunctionDef | ast.AsyncFunctionDef, file: str) -> list[str]:
    """What is too large about a function, as lines of a report."""
    if any("jit" in ast.unparse(d) for d in node.decorator_list):
        return []
    args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    count = len([a for a in args if a.arg not in ("self", "cls")])
    found = {
        "lines": ((node.end_lineno or 0) - node.lineno + 1, 60),
        "parameters": (count, 8),
        "nested blocks": (depth(node) - 1, 4),
    }
    return [
        f"{file}:{node.lineno} {node.name} has {value} {what}, at most {most}"
        for what, (value, most) in found.items()
        if value > most
    ]


def depth(node: ast.AST) -> int:
    """Deepest nesting of blocks below a node; an elif is no deeper than its if."""
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.FunctionDef)
    best = 0
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                elif_ = isinstance(node, ast.If) and field == "orelse" and isinstance(child, ast.If)
                best = max(best, depth(child) - (1 if elif_ else 0))
    return best + (1 if isinstance(node, blocks) else 0)
