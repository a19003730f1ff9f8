"""Time and memory of `kdrun report` on 100,000 stored runs: 100 treatments in 1,000 replicates.

    python benchmarks/large_report.py [--holes]

The runs are synthetic: nothing is trained. `--holes` leaves out one run in a hundred, so that effects need every run.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kdrun.folder import prepare_folder
from kdrun.records import History, Outcome, Run
from kdrun.results import Results
from kdrun.store.runs import Store
from kdrun.study.load import load_study

STUDY = """\
schema: 1
study: large
task: {name: sine}
teacher: {epochs: 5}
student: {quantizer: ternary}
factors:
  epochs: {sets: student.epochs, levels: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
  rate: {sets: student.optimizer.lr, levels: [1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4, 7e-4, 8e-4, 9e-4, 1e-3]}
replicates: 1000
responses: [{name: eval_mse, scale: log10, better: lower, diverged: {value: 0.5}}]
hypotheses: [{say: more epochs help, claim: {effect: {term: epochs, contrast: 10 - 1, below: 1}}}]
"""
EPOCHS = np.arange(0, 100, 10)
BATCH = 5_000


def main() -> None:
    """Make the runs, report on them in a process of its own, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--holes", action="store_true", help="leave out one run in a hundred")
    holes = parser.parse_args().holes
    with tempfile.TemporaryDirectory() as place:
        folder = stored(Path(place), holes)
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run(["kdrun", "report", str(folder)], check=True, stdout=subprocess.DEVNULL)
            print(f"kdrun report: {time.perf_counter() - start:.2f} s", end="; ")
            # The largest child so far, in kilobytes.
            print(f"at most {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3:.0f} MB")


def stored(place: Path, holes: bool) -> Path:
    """A results folder with all runs of the study."""
    (place / "large.yaml").write_text(STUDY)
    study = load_study(place / "large.yaml")
    folder = place / "large"
    prepare_folder(folder, study, fresh=False)
    pairs = list(outcomes(Results(folder, study).plan.runs, holes))
    with Store.open(folder) as store:
        for start in range(0, len(pairs), BATCH):
            store.commit(pairs[start : start + BATCH])
    return folder


def outcomes(runs: tuple[Run, ...], holes: bool) -> Iterator[tuple[Run, Outcome]]:
    """Runs with drawn responses and a short series each."""
    rng = np.random.default_rng(1)
    for run in runs:
        if holes and run.kind == "treatment" and rng.random() < 0.01:
            continue
        error = float(10 ** rng.normal(-3, 0.3))
        series = {"loss": History(EPOCHS, error * np.exp(-EPOCHS / 50.0) * rng.uniform(0.9, 1.1, len(EPOCHS)))}
        yield run, Outcome(run.run_id, "done", {"train_mse": error, "eval_mse": error}, {}, series, 0.1)


if __name__ == "__main__":
    sys.exit(main())
