"""Where something stands in a study: a path of keys and list positions, such as `factors.gradient[1]`."""

from __future__ import annotations

import re
from typing import Any, Final

Path = tuple[str | int, ...]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()

_STEP = re.compile(r"\.?([^.\[\]=\s]+)|\[(\d{1,9})\]")
_PLAIN_KEY = re.compile(r"[\w-]+")


def dotted(path: Path) -> str:
    """The path as people write it; keys with other characters than letters, digits, `_` and `-` are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else repr(part[:40]))
    return text


def parse_path(text: str) -> Path:
    """The path that `text` writes; a ValueError says what is wrong with it."""
    path: list[str | int] = []
    position = 0
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None or (position == 0 and (step[1] is None or text.startswith("."))):
            raise ValueError(f"{text[:80]!r} is no path of keys; write one like student.optimizer.lr or comparators[0]")
        path.append(int(step[2]) if step[1] is None else step[1])
        position = step.end()
    if not path:
        raise ValueError("a path of keys is missing; write one like student.optimizer.lr or comparators[0]")
    return tuple(path)


def get(data: Any, path: Path) -> Any:
    """What stands at `path`, or MISSING."""
    for part in path:
        data = _item(data, part)
    return data


def _item(data: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return data[part] if isinstance(data, list) and part < len(data) else MISSING
    return data.get(part, MISSING) if isinstance(data, dict) else MISSING


def name_key(path: Path) -> str:
    """The key that names what a mapping at `path` is: `cell` for a model, `name` for everything but the design."""
    if path == ("design",):
        return "fraction"
    return "cell" if path and path[-1] == "model" else "name"


def put(data: Any, path: Path, value: Any, above: Path = ()) -> Any:
    """A copy of `data` with `value` at `path`; mappings on the way are made, and a bare name becomes a mapping.

    Shares with `data` what lies off the path. A ValueError says why the path leads nowhere.
    """
    if not path:
        return value
    part, rest = path[0], path[1:]
    inside = _opened(data, part, above)
    below = put(inside[part] if isinstance(part, int) else inside.get(part, MISSING), rest, value, (*above, part))
    if isinstance(part, int):
        return [*inside[:part], below, *inside[part + 1 :]]
    return {**inside, part: below}


def _opened(data: Any, part: str | int, above: Path) -> Any:
    """`data` as the list or mapping that `part` is a position or a key of."""
    if isinstance(part, int):
        if not isinstance(data, list):
            raise ValueError(f"{dotted(above)} is no list")
        if part >= len(data):
            raise ValueError(f"{dotted(above)} has {len(data)} items, [0] to [{len(data) - 1}]")
        return data
    if data is MISSING or data is None:
        return {}
    if isinstance(data, str):
        return {name_key(above): data}
    if not isinstance(data, dict):
        raise ValueError(f"{dotted(above)} is {'a list' if isinstance(data, list) else 'a value'}, it has no keys")
    return data


def remove(data: Any, path: Path) -> Any:
    """A copy of `data` without the key at `path`."""
    inside = get(data, path[:-1])
    if not isinstance(inside, dict) or path[-1] not in inside:
        return data
    kept = {key: value for key, value in inside.items() if key != path[-1]}
    return put(data, path[:-1], kept)
