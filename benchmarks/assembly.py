"""What the compiler made of the core's passes: the loops of their machine code, and what an iteration consists of.

    python benchmarks/assembly.py

One row per innermost loop that computes with vectors, as the compiler unrolled it. `spills` are operands that did not
fit the registers and go through the stack: each costs a load or a store per iteration.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

HIDDEN = 32
LEAST = 5
COLUMNS = ("instructions", "multiply-adds", "multiplications", "additions", "divisions", "compares", "stores", "spills")
KINDS = {
    "multiply-adds": r"vfn?m(add|sub)\d",
    "multiplications": r"vmulp",
    "additions": r"v(add|sub)p",
    "divisions": r"vdivp",
    "compares": r"v(cmp\w*|min|max)p",
    "stores": r"vmov[au]p[sd]\s+%[xyz]mm\d+, [^%{]*\(",
    "spills": r"v\w+\s.*\(%r[sb]p",
}


def assembly() -> Iterator[tuple[str, str]]:
    """The machine code of both passes in float32, compiled anew: what comes from a cache cannot be looked at."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["KDRUN_CACHE_DIR"] = cache
        import roofline

        from kdrun.core import cfc

        for _, _, run in roofline.epoch_kernels(HIDDEN):
            run(1)
        for name in ("network_forward", "network_backward"):
            yield name, next(iter(getattr(cfc, name).inspect_asm().values()))


def loops(text: str) -> Iterator[Counter[str]]:
    """What one iteration of each innermost loop consists of: the blocks from a label to the last jump back to it."""
    blocks = [
        (label, [line.strip() for line in block.splitlines() if line.startswith("\t") and not line.startswith("\t.")])
        for label, block in re.findall(r"^(\.LBB\w+):\n(.*?)(?=^\.LBB|\Z)", text, re.MULTILINE | re.DOTALL)
    ]
    place = {label: index for index, (label, _) in enumerate(blocks)}
    targets = [
        (re.fullmatch(r"j\w+\s+(\S+)", line), index) for index, (_, lines) in enumerate(blocks) for line in lines
    ]
    spans = {(place[jump[1]], index) for jump, index in targets if jump and place.get(jump[1], index + 1) <= index}
    for first, last in sorted(spans):
        if any((first, last) != other and first <= other[0] and other[1] <= last for other in spans):
            continue
        lines = [line for _, block in blocks[first : last + 1] for line in block]
        found = Counter({kind: sum(bool(re.match(pattern, line)) for line in lines) for kind, pattern in KINDS.items()})
        if found["multiply-adds"] + found["divisions"] >= LEAST - 1:
            found["instructions"] = len(lines)
            yield found


def main() -> None:
    """Print the table."""
    table = Table("pass", *COLUMNS)
    for name, text in assembly():
        for found in loops(text):
            table.add_row(name, *(str(found[column]) for column in COLUMNS))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
