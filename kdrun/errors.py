"""What can go wrong, and the exit code that says so.

Every error that a user can cause or mend is a `KdrunError` whose text says where, what was found, what is allowed and
how to mend it. Anything else is a fault of kdrun itself and may show a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

# What `verify` ends with where it found a difference: its answer, not an error.
DIFFERENCE_FOUND = 5


class KdrunError(Exception):
    """An error with a text for the user; `exit_code` is what the command ends with."""

    exit_code: ClassVar[int] = 1


class UsageError(KdrunError):
    """The command or the study is wrong; nothing was run."""

    exit_code = 2


@dataclass(frozen=True)
class Mistake:
    """One mistake in a study: `place` is `file:line:column` (or what stands for it), `text` what is wrong there."""

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class StudyError(UsageError):
    """All mistakes of a study file, in the order in which they stand in it."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(str(mistake) for mistake in mistakes))


class LeftOutWarning(UserWarning):
    """A package offers a task or a level that cannot be used; studies that do not use it go on without it."""


class GradientCheckFailed(KdrunError):
    """An analytic gradient differs from the numeric one; nothing was trained."""

    exit_code = 3


class Interrupted(KdrunError):
    """The user stopped the study; what is finished is kept."""

    exit_code = 130
