"""Who is told what happens while a study runs. The engine's coordinator calls; progress displays and users listen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdrun.records import GradientCheck, Outcome, Run


@dataclass(frozen=True)
class Work:
    """What is about to run.

    All planned runs, those that are to do now, outcomes that are stored, the number of workers, and the bytes of memory
    that each may use, where that is known.
    """

    planned: Sequence[Run]
    todo: Sequence[Run]
    stored: Mapping[str, Outcome]
    workers: int
    response: str
    memory: int | None = None


class Listener:
    """Every method does nothing here; a display overrides those that it shows."""

    def checking(self, combinations: int) -> None:
        """The gradient check of so many combinations begins."""

    def checked(self, rows: Sequence[GradientCheck]) -> None:
        """The gradient check is over."""

    def noticed(self, text: str) -> None:
        """Something that the user should know, though the study goes on."""

    def starting(self, work: Work) -> None:
        """Runs begin."""

    def finished(self, run: Run, outcome: Outcome) -> None:
        """A run ended, and is stored."""

    def used(self, memory: int) -> None:
        """The largest worker so far used so many bytes of memory, with what it had started."""

    def ended(self) -> None:
        """No run is left, or none will be started any more."""

    def repeating(self, runs: int) -> None:
        """Replicate 1 is run again, to see whether its bits are the same."""

    def repeated(self, same: bool) -> None:
        """Whether they are."""
