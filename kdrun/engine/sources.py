"""Which sources make a run: kept beside every stored run, and in neither its id nor its digest.

Runs that kdrun trains depend on the rooms of kdrun that compute, on the packages of tasks and levels from elsewhere,
and on the files that their task reads. Runs of the user's own code depend on that code alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from kdrun.core.jit import sources_beside, sources_digest
from kdrun.factors.contract import Named
from kdrun.factors.discover import families, levels
from kdrun.models.discover import cells
from kdrun.records import Run
from kdrun.study.choice import TaskChoice
from kdrun.study.plain import canonical
from kdrun.tasks.contract import ExternalTask, Task
from kdrun.tasks.discover import tasks

ROOMS = ("core", "models", "factors", "tasks", "engine")
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Sources:
    """A hash of each file, or package, that a run depends on, by name."""

    files: Mapping[str, str]

    @cached_property
    def fingerprint(self) -> str:
        """One hash of them all; nothing where nothing is known."""
        text = json.dumps(sorted(self.files.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16] if self.files else ""


class SourcesOfRuns:
    """The sources of the runs of one study, as they are when they are first asked for; `folder` is the study's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[Any, ...], Sources] = {}
        # Runs of a treatment share their spec in all replicates: it is looked through once, and kept so that its
        # identity stays its own.
        self._of_specs: dict[int, tuple[Mapping[str, Any], Sources]] = {}

    def of(self, run: Run) -> Sources:
        """The sources of one run."""
        known = self._of_specs.get(id(run.spec))
        if known is None:
            known = self._of_specs[id(run.spec)] = (run.spec, self._of_names(run))
        return known[1]

    def _of_names(self, run: Run) -> Sources:
        """Runs that name the same code have the same sources."""
        # What a task hands to code of the user's own does not say where that code is.
        task = canonical({key: value for key, value in run.spec["task"].items() if key != "params"})
        key = (task, *_named(run.spec))
        if key not in self._known:
            self._known[key] = self._read(run)
        return self._known[key]

    def fingerprint(self, run: Run) -> str:
        """Their fingerprint."""
        return self.of(run).fingerprint

    def _read(self, run: Run) -> Sources:
        task = TaskChoice().read(dict(run.spec["task"]))
        assert isinstance(task, Task)
        own = {name: _hash(path) for name, path in task.sources(self.folder).items()}
        computing = {} if isinstance(task, ExternalTask) else {"kdrun": computing_sources()}
        return Sources(own | dict(_from_elsewhere(run.spec)) | computing)


@cache
def computing_sources() -> str:
    """What a run's bits may depend on in kdrun itself: the sources of the rooms that compute it, and versions."""
    parts = [sources_digest(_PACKAGE / room) for room in ROOMS]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return "unreadable"


def is_of_kdrun(spec: Mapping[str, Any]) -> bool:
    """Whether the task that a spec names is known here, and every class that it names is kdrun's own."""
    return spec["task"]["name"] in tasks() and all(_package_of(kind) == "kdrun" for kind in _named(spec))


def _from_elsewhere(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The packages of the classes that a spec names and that are not kdrun's, with the hash of all their sources."""
    for kind in _named(spec):
        if _package_of(kind) != "kdrun":
            yield _package_of(kind), sources_digest(sources_beside(_file(kind)))


def _package_of(kind: type[Named]) -> str:
    return kind.__module__.partition(".")[0]


def _file(kind: type[Named]) -> Path:
    return Path(str(sys.modules[kind.__module__].__file__)).resolve()


def _named(spec: Mapping[str, Any]) -> Iterator[type[Named]]:
    """The classes that the sections of a spec name."""
    yield tasks()[spec["task"]["name"]]
    for section in ("model", "teacher", "student"):
        for family, name in _choices(section, spec.get(section)):
            known: Mapping[str, type[Named]] = cells() if family == "cell" else levels(family)
            if name in known:
                yield known[name]
    if "comparator" in spec:
        yield levels("comparators")[spec["comparator"]["name"]]


def _choices(section: str, data: Any) -> Iterator[tuple[str, str]]:
    """Family and name of every level that a section chooses, with those that parameters of levels name."""
    if not isinstance(data, Mapping):
        return
    if section == "model":
        yield "cell", str(data.get("cell"))
    for key, value in data.items():
        name = value.get("name") if isinstance(value, Mapping) else value
        if key in families() and isinstance(name, str):
            yield key, name
        yield from _choices(key, value)
