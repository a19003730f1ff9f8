"""What every technique must do; a new file in kdrun/factors is tested without being listed."""

from __future__ import annotations

import importlib
import inspect
import json

import pytest
from pydantic import ValidationError

from kdrun.factors.contract import Level
from kdrun.factors.discover import families, levels
from tests.factors.discovered import battery, every_level

every_family = pytest.mark.parametrize("family", families().values(), ids=families())


@every_family
def test_a_family_has_levels_of_its_contract(family):
    """Every family has levels, each fulfils its contract, and the default is one of them."""
    found = levels(family.name)
    assert found
    assert all(issubclass(level, family.contract) for level in found.values())
    assert family.default is None or family.default in found


@every_family
def test_a_family_says_what_it_is(family):
    """Title, key and docstring of a family are there, and no level is called none."""
    assert family.title
    assert family.key
    assert importlib.import_module(f"kdrun.factors.{family.name}").__doc__.strip()
    assert "none" not in levels(family.name)


def test_names_are_unique_within_a_family():
    """No two files of a family carry one name."""
    got = [(level.__module__.rsplit(".", 1)[0], level.name) for level in every_level().values()]
    assert len(set(got)) == len(got)


@battery(Level)
def test_a_level_has_the_name_of_its_file(level):
    """What a study writes is what the file is called."""
    got = type(level).__module__.rsplit(".", 1)[1]
    assert got == level.name


@battery(Level)
def test_a_level_says_what_it_does_and_where_it_comes_from(level):
    """Equation, source and docstrings of class and module are there."""
    cls = type(level)
    assert cls.equation.strip()
    assert cls.source.strip()
    assert vars(cls)["__doc__"].strip()
    assert inspect.getmodule(cls).__doc__.strip()


@battery(Level)
def test_every_parameter_is_described(level):
    """Each field of a level has a description for the documentation."""
    got = [name for name, field in type(level).model_fields.items() if not field.description]
    assert got == []


@battery(Level)
def test_a_level_cannot_be_changed(level):
    """Levels are frozen: their parameters hold for a whole run."""
    name = next(iter(type(level).model_fields), "anything")
    with pytest.raises(ValidationError, match="frozen"):
        setattr(level, name, 1)


@battery(Level)
def test_a_level_survives_json(level):
    """What is stored of a level gives the same level again."""
    got = type(level).model_validate_json(level.model_dump_json())
    assert got == level
    assert json.loads(level.model_dump_json()) == level.model_dump(mode="json")


@battery(Level)
def test_unknown_parameters_are_refused(level):
    """A misspelt parameter is an error and not silence."""
    with pytest.raises(ValidationError, match="no_such_parameter"):
        type(level)(no_such_parameter=1)


@battery(Level)
def test_numbers_that_are_not_finite_are_refused(level):
    """No parameter of a level takes nan."""
    for name in type(level).model_fields:
        with pytest.raises(ValidationError):
            type(level)(**{name: float("nan")})
