"""Print the tables.

python -m benchmarks             all that need no data of yours, the comparison of renderers first; without the long trainings
python -m benchmarks --full      the same with everything that each does by default
python -m benchmarks NAME ...    one, with arguments of its own; NAME --help lists them
"""

from __future__ import annotations

import importlib
import pkgutil
import resource
import sys
import time
from collections.abc import Mapping, Sequence

import benchmarks
from emo_lightning.core.errors import UserError

FULL = "--full"
FIRST = ("compare", "renderer", "keypoint", "refined")
SHORTER: Mapping[str, Sequence[str] | None] = {
    "data": ("--videos", "2"),
    "decoupling": ("--train", "0"),
    "evaluation": ("--clips", "2"),
    "metrics": ("--frames", "6"),
    "pose": ("--steps", "0", "--minutes", "4"),
    "responsiveness": ("--part", "track"),
    "streaming": ("--minutes", "4"),
    "wiring": None,
}
"""What a run of all leaves out of each: mostly networks trained anew to be compared with the shipped ones. None: all of it."""


def names() -> list[str]:
    """Every benchmark there is, the modules of this package, in the order of a run of all."""
    found = sorted(
        m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_")
    )
    return sorted(
        found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name)
    )


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names, or all of them."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("benchmarks:", ", ".join(names()))
        return 0
    if arguments in ([], [FULL]):
        start = time.perf_counter()
        for name in names():
            run(name, [] if arguments else SHORTER.get(name, ()))
        print(f"\nall of it: {time.perf_counter() - start:.0f} s")
        return 0
    if arguments[0] not in names():
        raise UserError(
            "benchmark",
            arguments[0],
            f"{', '.join(names())}, or {FULL} alone for all of all",
            "is not a benchmark",
        )
    run(arguments[0], arguments[1:])
    return 0


def run(name: str, arguments: Sequence[str] | None) -> None:
    """Print one benchmark's tables under its heading, and how long it took; None leaves it out and says so."""
    module = importlib.import_module(f"benchmarks.{name}")
    print(f"\n## {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
    if arguments is None:
        print(f"left out, because it trains for minutes: python -m benchmarks {name}")
        return
    if arguments and SHORTER.get(name) == arguments:
        print(
            f"shortened by {' '.join(arguments)}; all of it: python -m benchmarks {name}",
            flush=True,
        )
    wall, busy = time.perf_counter(), cpu_seconds()
    module.main(list(arguments))
    print(
        f"\n{name} took {time.perf_counter() - wall:.0f} s, {cpu_seconds() - busy:.0f} s of processor time",
        flush=True,
    )


def cpu_seconds() -> float:
    """Of this process and of those that it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
