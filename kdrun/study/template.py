"""Study files to start from."""

from __future__ import annotations

from importlib.resources import files

from kdrun.errors import UsageError
from kdrun.study.wording import unknown

_FOLDER = files("kdrun.study") / "templates"
_SUFFIX = ".yaml"


def template_names() -> list[str]:
    """The names of all templates, in alphabetical order."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in _FOLDER.iterdir() if entry.name.endswith(_SUFFIX))


def template_text(name: str) -> str:
    """The study file that a template is."""
    if name not in template_names():
        raise UsageError(unknown("template", name, template_names()))
    return (_FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
