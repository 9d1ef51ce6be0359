"""Print the benchmark tables.

python -m benchmarks             all seven, shortened; needs no data of yours
python -m benchmarks --full      all seven at their default length
python -m benchmarks NAME ...    one benchmark; NAME --help lists its arguments
"""

from __future__ import annotations

import importlib
import resource
import sys
import time
from collections.abc import Mapping, Sequence

from emo_lightning.core.errors import UserError

FULL = "--full"
BENCHMARKS: Mapping[str, Sequence[str]] = {
    "compare": (),
    "speed": (),
    "data": ("--videos", "2"),
    "metrics": ("--frames", "6"),
    "lips": (),
    "levels": (),
    "sync": (),
}
"""Every benchmark in the order of a full run, with the arguments that shorten it there."""


def main(arguments: list[str]) -> int:
    """Run the benchmark named by the first argument, or all of them; returns the exit code."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("benchmarks:", ", ".join(BENCHMARKS))
        return 0
    if arguments in ([], [FULL]):
        start = time.perf_counter()
        for name, shorter in BENCHMARKS.items():
            run(name, [] if arguments else shorter)
        print(f"\ntotal: {time.perf_counter() - start:.0f} s")
        return 0
    if arguments[0] not in BENCHMARKS:
        accepted = f"{', '.join(BENCHMARKS)}, or {FULL} alone"
        raise UserError("benchmark", arguments[0], accepted, "is not a benchmark")
    run(arguments[0], arguments[1:])
    return 0


def run(name: str, arguments: Sequence[str]) -> None:
    """Print one benchmark's tables under its heading, then its elapsed and processor time."""
    module = importlib.import_module(f"benchmarks.{name}")
    print(f"\n## {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
    if arguments and BENCHMARKS[name] == arguments:
        print(f"shortened by {' '.join(arguments)}; in full: python -m benchmarks {name}")
    elapsed, busy = time.perf_counter(), cpu_seconds()
    module.main(list(arguments))
    seconds, processor = time.perf_counter() - elapsed, cpu_seconds() - busy
    print(f"\n{name} took {seconds:.0f} s, {processor:.0f} s of processor time", flush=True)


def cpu_seconds() -> float:
    """Processor seconds of this process and of the child processes it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
