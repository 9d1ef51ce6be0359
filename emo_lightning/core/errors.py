"""The one exception for mistakes that a user can mend.

The command line prints it as a single line and exits with code 2; anything else is a bug and keeps
its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """A wrong input, with what the user can do about it.

    Args:
        argument: what the user set, as they know it (``--level``, ``model.lr``, a file's role).
        value: what they gave; shown as ``repr`` unless it is a path or a plain string.
        accepted: what would be accepted instead, in a few words.
        problem: what is wrong with the value; defaults to "is not accepted".
    """

    def __init__(
        self, argument: str, value: object, accepted: str, problem: str = "is not accepted"
    ) -> None:
        self.argument, self.value, self.accepted, self.problem = argument, value, accepted, problem
        super().__init__(f"{argument} {str(value)!r} {problem}; accepted: {accepted}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, object, str, str]]:
        # An exception is copied between processes by its arguments, by default the message alone.
        return type(self), (self.argument, str(self.value), self.accepted, self.problem)


class MismatchError(UserError):
    """Two things that must agree do not: layouts of checkpoint and shard, a stage and the last."""
