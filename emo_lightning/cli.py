"""``emo``: the command line. Exit codes: 0 success, 1 a bug, 2 a user's mistake, 130 interrupted."""

from __future__ import annotations

import argparse
import contextlib
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
    evaluate,
    generate,
    preprocess,
    shards,
    train,
)
from emo_lightning.core.errors import UserError

COMMANDS = {
    "generate": generate,
    "calibrate": calibrate,
    "preprocess": preprocess,
    "shards": shards,
    "corpus": corpus,
    "train": train,
    "eval": evaluate,
    "assets": assets,
}
DESCRIPTION = "One portrait, one recording, an emotion and a level become a talking video."
SUCCESS, MISTAKE, INTERRUPTED, TERMINATED = 0, 2, 130, 143


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
    """Run one command and return its exit code; argument errors and ``--help`` leave by SystemExit as argparse does.

    Args:
        argv: the arguments after ``emo``; those of the process by default.
    """
    try:
        with _unwind_on_sigterm():
            args = build_parser().parse_args(argv)
            COMMANDS[args.command].run(args)
    except UserError as error:
        print(f"emo: {_one_line(str(error))}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("emo: interrupted", file=sys.stderr)
        return INTERRUPTED
    return SUCCESS


@contextlib.contextmanager
def _unwind_on_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind like Ctrl-C, so that what is half-written is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.exit(main())
