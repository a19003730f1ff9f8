"""kdrun: factorial studies of knowledge distillation and quantization on small networks.

    study = kdrun.load_study("sine.yaml")
    results = kdrun.run(study, results="results")
    print(results.effects)

Nothing heavy is imported before a name is used, so that `kdrun --help` answers at once.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_study": "kdrun.api", "run": "kdrun.api", "open_results": "kdrun.api",
    "Results": "kdrun.results", "verify": "kdrun.verification",
}  # fmt: skip

__all__ = ["Results", "__version__", "load_study", "open_results", "run", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kdrun' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
