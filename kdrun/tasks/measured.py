"""What code of the user's own gives back, as responses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from kdrun.records import Outcome
from kdrun.tasks.contract import ExternalTask, RunFailed, Task

LONGEST_SHOWN = 200
MOST_NAMES = 20


def read_responses(given: Any, by: str) -> dict[str, float]:
    """Responses by name; `RunFailed` says what is wrong with them. `by` is what gave them, for the message.

    Numbers are Python's, numpy's, or of anything else whose `item()` is one, such as a tensor of one element.
    Infinities and what is no number are passed on: such a run has diverged, where its study names them.
    """
    if not isinstance(given, Mapping) or not given:
        raise RunFailed(f"{by} gave {short(given)}; a mapping of at least one response to its number is needed")
    return {_name(name, by): _number(name, value, by) for name, value in given.items()}


def _name(name: Any, by: str) -> str:
    if not isinstance(name, str):
        raise RunFailed(f"{by} gave a response called {short(name)}; names of responses are text")
    if not name.isprintable():
        raise RunFailed(f"{by} gave a response called {short(name)}; names of responses are one line of letters")
    # A kind of text that the code has made could be read only where the code is.
    return str.__str__(name)


def _number(name: str, value: Any, by: str) -> float:
    found = value.item() if hasattr(value, "item") and getattr(value, "size", 1) == 1 else value
    if not isinstance(found, Real):
        raise RunFailed(f"{by} gave {name} = {short(value)}; a number is needed")
    try:
        return float(found)
    except OverflowError:
        return math.inf if found > 0 else -math.inf  # type: ignore[operator]  # of all real numbers


def lacking(responses: Mapping[str, float], wanted: Iterable[str]) -> str:
    """What to say of a run whose responses lack some that are wanted; nothing where they are all there."""
    missing = [name for name in wanted if name not in responses]
    if not missing:
        return ""
    given = [*responses][:MOST_NAMES] + (["…"] if len(responses) > MOST_NAMES else [])
    return f"the run gave {', '.join(given)}, and not {', '.join(missing)}, which the study's responses name"


def judged(outcome: Outcome, task: Task, wanted: Iterable[str]) -> Outcome:
    """What a run came to for a study whose responses name `wanted`.

    Of the user's own code these alone count: where one is no number the run has diverged, where one is not there it has
    failed; others that are no number are left out.
    """
    if not isinstance(task, ExternalTask) or outcome.status == "failed":
        return outcome
    names = list(wanted)
    if outcome.status == "diverged":
        known = all(name in outcome.responses for name in names)
        return replace(outcome, status="done", error="") if known else replace(outcome, responses={})
    error = lacking(outcome.responses, names)
    return replace(outcome, status="failed", responses={}, error=error) if error else outcome


def short(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
