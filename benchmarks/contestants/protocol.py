"""How the driver talks to a contestant: one JSON request a line on its input, one JSON reply a line on its output."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

Reply = dict[str, Any]


def serve(commands: Mapping[str, Callable[..., Reply]]) -> None:
    """Answer requests `{"do": command, …}` until the input ends. A command that fails answers with its traceback."""
    # What libraries print must not come between replies.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = commands[request.pop("do")](**request)
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


def timed(work: Callable[[], object], scale: float = 1.0) -> Reply:
    """`seconds` of wall time of `work`, times `scale`; `share`, the part of that time in which the core was its own."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall * scale, "share": cpu / wall}
