"""Which files a module depends on, by reading them: nothing of the user's code is run to find out.

Imports that are computed while the code runs are not seen, nor are data files.
"""

from __future__ import annotations

import ast
import site
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path


def module_file(name: str, folders: Sequence[Path]) -> tuple[Path, Path] | None:
    """The file of a module and the folder that its name starts from; None where it has no Python file.

    It is looked for in `folders`, then where Python looks.
    """
    for paths in (*([str(folder)] for folder in folders), None):
        found = _find(name, paths)
        if found is not None:
            return found
    return None


def _find(name: str, paths: list[str] | None) -> tuple[Path, Path] | None:
    """As `importlib.util.find_spec`, which would run the packages around a module."""
    parts, within, root = name.split("."), paths, None
    for position, part in enumerate(parts):
        spec = PathFinder.find_spec(part, within)
        if spec is None:
            return None
        origin = Path(spec.origin) if spec.has_location and spec.origin else None
        within = list(spec.submodule_search_locations or [])
        if position == 0:
            root = origin.parent.parent if within and origin else origin.parent if origin else None
            root = root or (Path(within[0]).parent if within else None)
        if position == len(parts) - 1:
            return (origin, root) if origin is not None and origin.suffix == ".py" and root is not None else None
        if not within:
            return None
    return None


def modules_of(file: Path, root: Path) -> dict[str, Path]:
    """A Python file and every module that it imports, directly or not, from below `root`, by path below `root`.

    Where `root` is where packages are installed, only the package of `file` itself is followed.
    """
    own = root / file.relative_to(root).parts[0] if _is_installed(root) and file.is_relative_to(root) else root
    found: dict[str, Path] = {}
    queue = [file]
    while queue:
        path = queue.pop()
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        if name in found:
            continue
        found[name] = path
        queue += [other for other in _imported(path, root) if other.is_relative_to(own)]
    return dict(sorted(found.items()))


def _is_installed(root: Path) -> bool:
    places = [*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()]
    return any(root.is_relative_to(place) for place in places)


def _imported(file: Path, root: Path) -> Iterator[Path]:
    """The files below `root` that one file names in its imports, with the packages around them."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        for name in _names(node, file, root):
            yield from _files(name, root)


def _names(node: ast.AST, file: Path, root: Path) -> Iterator[str]:
    """Modules that a node of a file's syntax may import: of `from a import b` both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        base = [node.module] if node.module else []
        if node.level:
            package = file.relative_to(root).parts[: -node.level] if file.is_relative_to(root) else ()
            base = [*package, *base]
        module = ".".join(base)
        yield from (".".join(filter(None, (module, alias.name))) for alias in node.names)
        yield module


def _files(name: str, root: Path) -> Iterator[Path]:
    """What importing a dotted name would read below `root`: packages from the outermost, then the module."""
    parts = [part for part in name.split(".") if part and part != "*"]
    for length in range(1, len(parts) + 1):
        inside = root.joinpath(*parts[:length])
        candidates = (inside / "__init__.py", inside.with_name(f"{inside.name}.py"))
        yield from (path for path in candidates if path.is_file())
