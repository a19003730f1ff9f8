"""Stored runs beside the same runs made again, for a terminal and as one JSON document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from kdrun.errors import DIFFERENCE_FOUND
from kdrun.records import Run
from kdrun.report.sheet import Sheet, rich_table
from kdrun.report.text import counted, joined, plain
from kdrun.store.digest import DigestRow

# Longer tables are cut; --json has all of them.
MOST_ROWS = 40
SHORT_DIGEST = 12
NETWORK = "trained network"


@dataclass(frozen=True)
class Difference:
    """What of a run is not the same: `status`, the name of a response, or its network; as stored, and as it is now."""

    name: str
    stored: str
    now: str


@dataclass(frozen=True)
class RunAgain:
    """A stored run beside the same run made again.

    `network` is the digest of the network itself that is stored, None where it is not; `error` that of the run now.
    `tells_run`, `tells_network` and `told` (names of responses; None for all) say what of `stored` the folder tells:
    nothing else is compared.
    """

    run: Run
    stored: DigestRow
    now: DigestRow
    network: str | None = None
    error: str = ""
    tells_run: bool = True
    tells_network: bool = True
    told: frozenset[str] | None = None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """All that is not the same, bit for bit."""
        return tuple(self._differences())

    def _differences(self) -> Iterator[Difference]:
        if not self.tells_run:
            return
        if self.stored.status != self.now.status:
            reason = (self.error.strip().splitlines() or [""])[-1]
            yield Difference("status", self.stored.status, self.now.status + (f": {reason}" if reason else ""))
        stored, now = _responses(self.stored), _responses(self.now)
        names = stored.keys() | now.keys()
        for name in sorted(names if self.told is None else names & self.told):
            if stored.get(name) != now.get(name):
                yield Difference(name, _number(stored.get(name)), _number(now.get(name)))
        named, made = self.stored.parameters_sha256, self.now.parameters_sha256
        if self.tells_network and named != made:
            yield Difference(NETWORK, _short(named), _short(made))
        elif self.network is not None and self.network != made:
            yield Difference("stored network", _short(self.network), _short(made))


def _responses(row: DigestRow) -> Mapping[str, Any]:
    """Responses by name, as `float.hex` writes them; text that is not what kdrun writes stands as it is."""
    try:
        found = json.loads(row.responses)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"responses": row.responses}


def _number(text: Any) -> str:
    """A response with all its digits, and its bits."""
    try:
        return f"{float.fromhex(text)!r} ({text})"
    except (TypeError, ValueError, OverflowError):
        return "nothing" if text is None else str(text)


def _short(digest: str) -> str:
    return f"SHA-256 {digest[:SHORT_DIGEST]}…"


@dataclass(frozen=True)
class Verification:
    """Stored runs of one study, run again and compared.

    `against` is the file that they are compared with. `runs` are those that were run again: the `chosen`, all that are
    done or diverged where `complete`, and what they need of those. `undone` are chosen runs that could not be done
    because what they need is not done any more. `finished` and `left_out` (by status) count what is stored. `digests`,
    as stored and now, are those of the whole results where `complete`, else of the runs compared; None where the file
    knows no networks. `made_with` and `made_now` are an `environment()`; `same_sources` is None where nothing tells.
    """

    folder: str
    study: str
    against: str
    complete: bool
    finished: int
    left_out: Mapping[str, int]
    chosen: tuple[Run, ...]
    runs: tuple[RunAgain, ...]
    undone: tuple[Run, ...]
    digests: tuple[str, str] | None
    made_with: Mapping[str, Any]
    made_now: Mapping[str, Any]
    same_sources: bool | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def different(self) -> tuple[RunAgain, ...]:
        """The runs that are not the same."""
        return tuple(item for item in self.runs if item.differences)

    @property
    def equal(self) -> bool:
        """Whether all that was compared is the same, bit for bit."""
        same_digest = self.digests is None or self.digests[0] == self.digests[1]
        return same_digest and not self.different and not self.undone

    @property
    def exit_code(self) -> int:
        """0, or 5 where something differs."""
        return 0 if self.equal else DIFFERENCE_FOUND

    @property
    def knows_networks(self) -> bool:
        """Whether trained networks were compared, each for itself or all by their digest."""
        return self.digests is not None


def difference_sentence(item: RunAgain) -> str:
    """Such as `treatment 3, replicate 2 (id 1f3a…) differs in eval_mse and trained network`."""
    names = joined(difference.name for difference in item.differences)
    return f"{item.run.title} (id {item.run.run_id}) differs in {names}"


def verify_rich(found: Verification) -> RenderableType:
    """Which runs were run again, what differs in which, and one line that says whether anything does."""
    parts: list[RenderableType] = []
    if not found.complete or len(found.runs) <= MOST_ROWS:
        parts.append(rich_table(runs_sheet(found), f"{found.study}: {_what(found)}"))
    if found.different:
        parts.append(rich_table(differences_sheet(found), "Differences"))
    if not found.equal:
        changes = changes_sheet(found)
        parts += [rich_table(changes, "What else is not the same")] if changes.rows else []
        parts += [_line(note) for note in reasons(found)]
    parts += [_line(note) for note in found.notes]
    if found.digests is not None:
        name = "results_digest" if found.complete else "digest of these runs"
        stored, now = found.digests
        parts += [_line(f"stored {name} {stored}"), _line(f"{name} now {now}")]
    return Group(*parts, _line(conclusion(found)))


def _line(text: str) -> Text:
    """A line that is not broken, so that it can be searched and copied."""
    return Text(plain(text), no_wrap=True, overflow="ignore")


def _what(found: Verification) -> str:
    """Such as `10 of 26 runs and 4 that they need, run again`."""
    chosen = {run.run_id for run in found.chosen}
    needed = sum(item.run.run_id not in chosen for item in found.runs)
    more = f" and {needed:,} that they need" if needed else ""
    return f"{len(chosen):,} of {counted(found.finished, 'run')}{more}, run again"


def conclusion(found: Verification) -> str:
    """The last line; it claims of no more than was compared that it is equal."""
    left = [f"{number:,} {status}" for status, number in found.left_out.items()]
    rest = f"; left out: {joined(left)}" if left else ""
    what = "status, responses and trained networks" if found.knows_networks else "status and responses"
    text = f"{_what(found)} and compared with {found.against} by {what}{rest}"
    if found.equal:
        return f"equal, bit for bit: {text}"
    count = f"{counted(len(found.different), 'run')} different" if found.different else "results digests differ"
    undone = f", {counted(len(found.undone), 'run')} could not be run again" if found.undone else ""
    return f"DIFFERENT: {count}{undone}: {text}"


def reasons(found: Verification) -> Iterator[str]:
    """What the differences may come from."""
    if found.undone:
        titles = "; ".join(run.title for run in found.undone[:5]) + ("; …" if len(found.undone) > 5 else "")
        yield f"Could not be run again, because what they need is not done any more: {titles}."
    if not found.different and not found.undone:
        told = any(item.tells_run for item in found.runs)
        yield (
            "Every response in the table of runs is the same, yet the digests differ: trained networks differ,"
            f" or {found.against} or study.yaml was changed."
            if told
            else "Without tables/runs.csv nothing tells which runs differ."
        )
    if found.same_sources is not None:
        yield (
            "kdrun's sources, numpy, numba and llvmlite are those that made the runs: the machine differs, or the"
            " stored runs were changed."
            if found.same_sources
            else "Some stored runs were made by other sources than those that are here now: of kdrun, or of code or"
            " files of the study, or by other versions of numpy, numba or llvmlite."
        )


def runs_sheet(found: Verification) -> Sheet:
    """One row per run that was run again."""
    chosen = {run.run_id for run in found.chosen}
    rows = [
        (
            item.run.run_id,
            item.run.title,
            ", ".join(f"{factor}={level}" for factor, level in item.run.levels.items())
            if item.run.kind == "treatment"
            else "",
            "chosen" if item.run.run_id in chosen else "needed",
            "different" if item.differences else _verdict(item),
        )
        for item in found.runs[:MOST_ROWS]
    ]
    headings = ("Run id", "Run", "Levels", "Why", "Verdict")
    return Sheet(headings, tuple(rows), frozenset(), notes=_more(found.runs))


def _verdict(item: RunAgain) -> str:
    return "equal" if item.tells_run else "by digest"


def _more(rows: Sequence[Any]) -> tuple[str, ...]:
    return (f"… and {len(rows) - MOST_ROWS:,} more; --json lists all",) if len(rows) > MOST_ROWS else ()


def differences_sheet(found: Verification) -> Sheet:
    """One row for each thing that differs in a run."""
    rows = [
        (item.run.run_id, item.run.title, difference.name, difference.stored, difference.now)
        for item in found.different
        for difference in item.differences
    ]
    return Sheet(("Run id", "Run", "What", "Stored", "Now"), tuple(rows[:MOST_ROWS]), frozenset(), notes=_more(rows))


def changes_sheet(found: Verification) -> Sheet:
    """Versions and CPU that made what is stored, where they are not those of now."""
    then, now = _environment(found.made_with), _environment(found.made_now)
    rows = [
        (name, then.get(name, "unknown"), now.get(name, "unknown"))
        for name in dict.fromkeys([*now, *then])
        if then.get(name) != now.get(name)
    ]
    return Sheet(("What", "Stored", "Now"), tuple(rows), frozenset())


def _environment(made: Mapping[str, Any]) -> dict[str, str]:
    """Versions, CPU and commit by name."""
    versions, cpu = made.get("versions"), made.get("cpu")
    found = {name: str(version) for name, version in (versions if isinstance(versions, dict) else {}).items()}
    for name, value in (cpu if isinstance(cpu, dict) else {}).items():
        found[f"CPU {name}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if made.get("git_commit"):
        found["git commit"] = str(made["git_commit"])
    return found


def verify_document(found: Verification) -> dict[str, Any]:
    """What `kdrun verify --json` prints of one study."""
    chosen = {run.run_id for run in found.chosen}
    return {
        "results": found.folder,
        "study": found.study,
        "equal": found.equal,
        "against": found.against,
        "complete": found.complete,
        "compared": ["status", "responses", *(["networks"] if found.knows_networks else [])],
        "finished": found.finished,
        "left_out": dict(found.left_out),
        "results_digests" if found.complete else "digests": list(found.digests) if found.digests else None,
        "runs": [
            {
                "run_id": item.run.run_id,
                "title": item.run.title,
                "chosen": item.run.run_id in chosen,
                "differences": [vars(difference) for difference in item.differences],
                "error": item.error,
            }
            for item in found.runs
        ],
        "undone": [run.run_id for run in found.undone],
        "same_sources": found.same_sources,
        "made_with": dict(found.made_with),
        "made_now": dict(found.made_now),
        "notes": [*(reasons(found) if not found.equal else ()), *found.notes],
    }


def studies_document(studies: Sequence[Verification], impossible: Mapping[str, Exception]) -> dict[str, Any]:
    """What `kdrun verify --json` prints of a folder of studies, and of those that could not be run again."""
    return {
        "equal": all(found.equal for found in studies) and not impossible,
        "studies": [verify_document(found) for found in studies],
        "not_compared": [{"results": folder, "error": str(error)} for folder, error in impossible.items()],
    }


def conclusion_of_all(studies: Sequence[Verification], impossible: Mapping[str, Exception]) -> str:
    """The last line about a folder of studies."""
    different = [found.study for found in studies if not found.equal]
    parts = [f"{len(studies) - len(different)} of {len(studies) + len(impossible)} studies equal"]
    if different:
        parts.append(f"different: {joined(different)}")
    if impossible:
        parts.append(f"not compared: {joined(Path(folder).name for folder in impossible)}")
    return "; ".join(parts)
