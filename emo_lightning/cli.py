"""``emo``: the command line. Exit codes: 0 success, 1 a bug, 2 a mistake, 130 interrupted."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from emo_lightning import __version__
from emo_lightning.commands import (
    assets,
    calibrate,
    corpus,
    demo,
    doctor,
    evaluate,
    export,
    generate,
    preprocess,
    runs,
    shards,
    train,
)
from emo_lightning.core.errors import UserError
from emo_lightning.core.progress import note

COMMANDS = {
    "generate": generate,
    "calibrate": calibrate,
    "preprocess": preprocess,
    "shards": shards,
    "corpus": corpus,
    "train": train,
    "export": export,
    "runs": runs,
    "eval": evaluate,
    "assets": assets,
    "doctor": doctor,
    "demo": demo,
}
DESCRIPTION = "One portrait, one recording, an emotion and a level become a talking video."
SUCCESS, MISTAKE, INTERRUPTED, CLOSED_PIPE = 0, 2, 130, 141


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISTAKE, f"emo: {_one_line(message)}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; imports nothing heavy."""
    parser = _Parser(prog="emo", allow_abbrev=False, description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"emo {__version__}")
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.__doc__,
            allow_abbrev=False,
            add_help=not hasattr(module, "OWN_HELP"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; argparse's errors and ``--help`` raise SystemExit.

    Args:
        argv: the arguments after ``emo``; those of the process by default.
    """
    try:
        with _unwind_on_signals():
            args = build_parser().parse_args(argv)
            COMMANDS[args.command].run(args)
    except UserError as error:
        note(f"emo: {_one_line(str(error))}")
        return MISTAKE
    except KeyboardInterrupt:
        note("emo: interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a list has seen enough; what stdout still holds would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return SUCCESS


@contextlib.contextmanager
def _unwind_on_signals() -> Iterator[None]:
    """Unwind on SIGTERM and SIGHUP as on Ctrl-C, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    names = ("SIGTERM", "SIGHUP")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    # nohup ignores SIGHUP, and so does everything that it starts.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
