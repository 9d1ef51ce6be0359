"""Print the tables: ``python -m benchmarks`` runs all that need no data of yours, ``python -m benchmarks NAME ...`` one."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks
from emo_lightning.errors import UserError


def names() -> list[str]:
    """Every benchmark there is: the modules of this package."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if not m.name.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names, or all of them with their defaults."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        print("benchmarks:", ", ".join(names()))
        return 0
    if arguments and arguments[0] not in names():
        raise UserError("benchmark", arguments[0], ", ".join(names()), "is not a benchmark")
    for name in arguments[:1] or names():
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n## {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main(arguments[1:])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        sys.exit(2)
