"""Packages that stand in a folder as if they were installed there, and what goes wrong with them."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path(__file__).parent / "example"


def on_path(*folders: Path) -> dict[str, str]:
    """The environment in which Python finds packages in some folders first."""
    return {"PYTHONPATH": os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])}


def install(folder: Path, name: str, points: str, modules: Mapping[str, str] | None = None) -> Path:
    """A distribution of version 1.0 with the text of its entry points, and its modules by name."""
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(points)
    for module, text in (modules or {}).items():
        (folder / f"{module}.py").write_text(textwrap.dedent(text))
    return folder


SHAPE = '''
from typing import ClassVar

from kdrun.factors.gradient.ste import Ste


class Shape(Ste):
    """A straight-through estimator under another name."""

    name: ClassVar[str] = "NAME"
'''
BARE = '''
from typing import ClassVar

from kdrun.factors.contract import GradientShape


class Shape(GradientShape):
    """A shape that says less of itself than it should."""

    name: ClassVar[str] = "NAME"
'''
TASK = '''
from typing import ClassVar

from kdrun.tasks.contract import TrainingTask


class Shape(TrainingTask):
    """A task without methods."""

    name: ClassVar[str] = "NAME"
    title: ClassVar[str] = "nothing"
    source: ClassVar[str] = "nowhere"
    responses: ClassVar = {}
'''


@dataclass(frozen=True)
class Fault:
    """What a module holds in which NAME stands for its name, and words of the warning."""

    module: str
    words: str
    point: str = "gradient.NAME = NAME:Shape"
    group: str = "kdrun.levels"

    def install(self, folder: Path, name: str) -> None:
        """A package with this fault."""
        points = f"[{self.group}]\n{self.point}\n".replace("NAME", name)
        install(folder, name, points, {name: self.module.replace("NAME", name)})


FAULTS = {
    "no_import": Fault(
        "import no_such_thing",
        "it cannot be imported: ModuleNotFoundError: No module named 'no_such_thing'; "
        "python -c 'import no_import' shows where",
    ),
    "no_python": Fault("class Shape(:", "it cannot be imported: SyntaxError: invalid syntax (no_python.py, line 1)"),
    "no_patience": Fault("import sys\nsys.exit('not today')", "it cannot be imported: SystemExit: not today"),
    "no_brevity": Fault(
        "raise RuntimeError('one\\ntwo \\x1b[31m' + 'three ' * 100)",
        "it cannot be imported: RuntimeError: one two [31mthree three",
    ),
    "no_annotation": Fault(
        BARE.replace("ClassVar[str]", "str"),
        "no_annotation:Shape has no name, source, equation; each is declared as name: ClassVar",
    ),
    "no_attribute": Fault("", "no_attribute has no Shape; correct the entry point"),
    "no_module": Fault("", "its entry point is '!?'; module:Class is needed", point="gradient.NAME = !?"),
    "no_class": Fault("Shape = 3", "no_class:Shape is no class; a class that derives from GradientShape is needed"),
    "no_contract": Fault("class Shape: ...", "no_contract:Shape does not derive from GradientShape"),
    "no_shape": Fault(
        "from kdrun.factors.quantizer.ternary import Ternary as Shape",
        "no_shape:Shape does not derive from GradientShape",
    ),
    "no_texts": Fault(BARE, "no_texts:Shape has no source, equation; each is declared as source: ClassVar"),
    "no_words": Fault(SHAPE + '    source: ClassVar[str] = ""\n', "no_words:Shape has no source"),
    "no_name": Fault(BARE.replace('    name: ClassVar[str] = "NAME"\n', ""), "no_name:Shape has no name, source"),
    "no_docstring": Fault(
        SHAPE.replace('    """A straight-through estimator under another name."""\n', ""),
        "no_docstring:Shape has no docstring, which says what it is",
    ),
    "no_agreement": Fault(
        SHAPE.replace("NAME", "other"),
        "no_agreement:Shape has the name 'other', its entry point 'no_agreement'; give both the same",
    ),
    "no_default": Fault(
        SHAPE + "    reach: float\n",
        "no_default:Shape() fails, but every parameter must have a default: ValidationError",
    ),
    "no_family": Fault(
        SHAPE, "there is no family 'gradiant'; ", point="gradiant.NAME = NAME:Shape"
    ),
    "no_dot": Fault(SHAPE, "there is no family 'no_dot'; its entry point is named family.level", "NAME = NAME:Shape"),
    "no_methods": Fault(
        TASK, "no_methods:Shape does not define calibration_batch, evaluate, inputs", "NAME = NAME:Shape", "kdrun.tasks"
    ),
    "no_responses": Fault(
        TASK.replace("    responses: ClassVar = {}\n", ""),
        "no_responses:Shape has no responses; each is declared as responses: ClassVar",
        "NAME = NAME:Shape",
        "kdrun.tasks",
    ),
    "no_task": Fault(
        SHAPE, "no_task:Shape does not derive from TrainingTask or ExternalTask", "NAME = NAME:Shape", "kdrun.tasks"
    ),
    "no_right": Fault(
        SHAPE.replace("NAME", "ste"), "the name is kdrun's own", "gradient.ste = NAME:Shape"
    ),
    "no_right_either": Fault(
        TASK.replace("NAME", "sine"), "the name is kdrun's own", "sine = NAME:Shape", "kdrun.tasks"
    ),
    "no_emptiness": Fault(
        SHAPE.replace("NAME", "none"), "the name is kdrun's own", "distillation.none = NAME:Shape"
    ),
    "no_rival": Fault(
        SHAPE.replace("NAME", "rival"),
        "it is offered by no_peer 1.0 and by no_rival 1.0; uninstall all but one of them",
        "gradient.rival = NAME:Shape",
    ),
    "no_peer": Fault(
        SHAPE.replace("NAME", "rival"),
        "it is offered by no_peer 1.0 and by no_rival 1.0; uninstall all but one of them",
        "gradient.rival = NAME:Shape",
    ),
}  # fmt: skip


def install_faults(folder: Path) -> Path:
    """A package with each of the faults."""
    for name, fault in FAULTS.items():
        fault.install(folder, name)
    return folder
