"""The command line: parse, call, print. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import atexit
import gc
import os
import re
import shlex
import signal
import sys
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import typer.core

from kdrun.errors import Interrupted, KdrunError, StudyError, UsageError
from kdrun.terminal import (
    console,
    failure_sentence,
    listener,
    open_streams,
    place_of,
    print_json,
    print_results,
    say,
    warn_in_plain_lines,
)

if TYPE_CHECKING:
    from kdrun.results import Results


class Commands(typer.core.TyperGroup):
    """All commands. Ctrl-C anywhere in one ends it as an interruption, with its exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("Interrupted") from None


app = typer.Typer(
    name="kdrun",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run factorial studies of knowledge distillation and quantization on small networks, and judge them.",
    epilog="Start with: kdrun new sine > sine.yaml, then kdrun factorial sine.yaml",
)

# What a worker imports takes more than half of this.
SMALLEST_MEMORY = 200e6
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="Study file.")]
Replicates = Annotated[int | None, typer.Option(metavar="N", help="Number of replicates, instead of the study's.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed, instead of the study's.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Set a key of the study; repeatable, the last wins."),
]
ResultsFolder = Annotated[Path, typer.Argument(metavar="RESULTS", help="Results folder of a study.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


class TableFormat(StrEnum):
    """What tables can be written as."""

    csv = "csv"
    parquet = "parquet"
    markdown = "markdown"
    latex = "latex"


class ExportFormat(StrEnum):
    """What a trained network can be written as."""

    npz = "npz"


class CodeChange(StrEnum):
    """What becomes of stored runs that other code made."""

    warn = "warn"
    rerun = "rerun"
    keep = "keep"


def _version(wanted: bool) -> None:
    if wanted:
        from kdrun import __version__

        typer.echo(f"kdrun {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: kdrun factorial sine.yaml --results out --replicates 3 --set student.epochs=500")
def factorial(
    study: StudyFile,
    results: Annotated[Path, typer.Option(metavar="DIR", help="Folder that holds a folder for each study.")] = Path(
        "results"
    ),
    replicates: Replicates = None,
    seed: Seed = None,
    set_: Settings = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Worker processes. Default: all cores.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="FACTOR=LEVEL[,LEVEL]", help="Run only treatments with these levels; repeatable."),
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try runs again that failed before.")] = False,
    on_code_change: Annotated[
        CodeChange,
        typer.Option(help="Stored runs that other code made: keep them with a warning, run them again, or keep them."),
    ] = CodeChange.warn,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0.001, help="Time that one run may take. Default: any.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory that one worker may use, such as 2GB. Default: its share."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Have the workers of a Dask scheduler do the runs: tcp://host:8786."),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget stored runs and start over; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables, only the digest.")] = False,
    as_json: Json = False,
) -> None:
    """Check a study and its gradients, run what is missing, write tables and report.

    Running the same command again does what is missing and nothing else. Ctrl-C stops cleanly and keeps what is done.
    A run that fails keeps its traceback, and the others go on.

    Exit codes: 0 done; 1 a run failed or a required criterion does not hold; 2 the command or the study is wrong;
    3 a gradient check failed; 4 a teacher missed its acceptance; 130 interrupted.
    """
    from kdrun.study.load import load_study

    loaded = load_study(study, set_ or (), replicates, seed)
    if fresh and not yes:
        _confirm_fresh(results / loaded.study)
    from kdrun.api import run

    shown = None if quiet else listener()
    found = run(
        loaded,
        results,
        workers=workers,
        only=_levels(only or []),
        fresh=fresh,
        retry_failed=retry_failed,
        on_code_change=on_code_change.value,
        timeout=timeout,
        memory=_bytes(memory) if memory is not None else None,
        scheduler=scheduler,
        listener=shown,
    )
    if as_json:
        print_json(found.document())
    elif quiet:
        typer.echo(f"results_digest {found.results_digest}")
    else:
        print_results(found)
    for sentence in found.missed_teachers():
        say(f"kdrun: {sentence}; its students were not trained", err=True)
    if failed := found.failed():
        say(f"kdrun: {failure_sentence(found, failed)}", err=True)
    raise typer.Exit(found.exit_code)


def _bytes(text: str) -> int:
    """`2GB`, `512MB` or `1.5 GB` as a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMGT]?)B?", text.strip(), re.IGNORECASE)
    size = float(found[1]) * 1000 ** " KMGT".index(found[2].upper() or " ") if found else 0.0
    if size < SMALLEST_MEMORY:
        raise UsageError(f"--memory {text}: a size of at least 200MB is needed, such as 500MB or 2GB")
    return int(size)


def _levels(texts: list[str]) -> dict[str, list[str]]:
    """`width=16,32` as {"width": ["16", "32"]}."""
    found: dict[str, list[str]] = {}
    for text in texts:
        factor, sign, levels = text.partition("=")
        if not sign or not factor or not levels:
            raise UsageError(f"--only {text}: FACTOR=LEVEL[,LEVEL] is needed, such as --only width=16")
        found.setdefault(factor, []).extend(levels.split(","))
    return found


def _confirm_fresh(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not sys.stdin.isatty():
            raise UsageError(
                f"{folder}: --fresh would remove what is stored there; add --yes to do so without being asked"
            )
        if not typer.confirm(f"Remove everything that is stored in {folder}?", err=True):
            raise UsageError(f"{folder}: nothing was removed, and nothing was run")


@app.command(epilog="Example: kdrun plan sine.yaml --replicates 6 --pilot results/pilot")
def plan(
    study: StudyFile,
    results: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder that holds a folder for each study; only read.")
    ] = Path("results"),
    pilot: Annotated[
        Path | None, typer.Option(metavar="RESULTS", help="Results folder that tells deviations and times; only read.")
    ] = None,
    replicates: Replicates = None,
    seed: Seed = None,
    set_: Settings = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Worker processes that the time is for. Default: all cores.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a study would run: treatments, ids, seeds, minimum detectable effects, aliases, expected time.

    Trains nothing and writes nothing. Exit codes: 0 done; 2 the command or the study is wrong.
    """
    # Nothing is computed with kernels here, and uncompiled ones leave no machine code on disk.
    os.environ["NUMBA_DISABLE_JIT"] = "1"
    from kdrun.study.load import load_study

    loaded = load_study(study, set_ or (), replicates, seed)
    from kdrun.planning import outlook_of
    from kdrun.report.plan import plan_document, plan_rich

    outlook = outlook_of(loaded, results, pilot=pilot, workers=workers)
    if as_json:
        print_json(plan_document(outlook))
    else:
        console().print(plan_rich(outlook))


@app.command(epilog="Example: kdrun gradcheck --json")
def gradcheck(as_json: Json = False) -> None:
    """Check every analytic gradient against finite differences: every technique, combination and parameter.

    Exit code 3 if one differs.
    """
    from kdrun.api import check_all_gradients

    rows = check_all_gradients(listener=listener())
    if as_json:
        from kdrun.report.document import gradient_rows

        print_json(gradient_rows(rows))
    else:
        from kdrun.report.details import gradient_table

        console().print(gradient_table(rows))
    raise typer.Exit(0 if all(row.passed for row in rows) else 3)


@app.command(epilog="Example: kdrun report results/sine --format latex --table effects")
def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="One study's folder, or a folder of them.")],
    format_: Annotated[
        TableFormat | None, typer.Option("--format", help="Write the tables of one study in this format too.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="NAME", help="With --format: print this table, and write nothing.")
    ] = None,
) -> None:
    """Make tables and report again from what is stored; for a folder of studies, an index of them too.

    With --format, tables are written as <RESULTS>/tables/NAME.csv, .parquet, .md or .tex; the first two hold the
    numbers in full, the others are rounded, with intervals, for people.
    """
    from kdrun.report.index import folders_without_tables, is_index, study_folders

    if not results.is_dir():
        raise UsageError(f"{results}: there is no such folder")
    if format_ is not None:
        _export_tables(results, format_, table)
        return
    if table is not None:
        raise UsageError(f"--table {table}: say in which --format: csv, markdown or latex")
    if is_index(results):
        for folder in study_folders(results):
            _remake(folder)
        _print_index(results)
        for folder in folders_without_tables(results):
            say(f"not in the index: {folder.name} has no tables; kdrun report {folder} says why", err=True)
        return
    found = _remake(results)
    if found is None:
        _print_index(results.resolve().parent, only=results.resolve())
        return
    print_results(found)
    raise typer.Exit(found.exit_code)


def _export_tables(folder: Path, table_format: TableFormat, table: str | None) -> None:
    from kdrun.report.write import TextFormat, export_tables, table_text
    from kdrun.results import Results

    found = Results.open(folder)
    if not found.has_runs:
        raise UsageError(f"{folder}: its runs are not there, so no table is made; tables/ has them as CSV and Parquet")
    if table is None:
        for path in export_tables(found.folder, found.analysis, table_format.value):
            say(str(path))
    elif table_format is TableFormat.parquet:
        raise UsageError("--format parquet is not for printing; leave --table out to write files")
    else:
        typer.echo(table_text(found.analysis, table, cast("TextFormat", table_format.value)), nl=False)


def _remake(folder: Path) -> Results | None:
    """Write a folder's tables and report again; None for a folder whose runs are not there, which stays as it is."""
    from kdrun.results import Results

    found = Results.open(folder)
    if not found.has_runs:
        return None
    found.write()
    return found


def _print_index(folder: Path, only: Path | None = None) -> None:
    from kdrun.report.index import index_rich, study_index, write_index

    index = study_index(folder)
    if only is None:
        write_index(folder, index)
    else:
        index = index[index["folder"] == only.name]
    console().print(index_rich(index))


@app.command(epilog="Example: kdrun verify results/sine --sample 20")
def verify(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="One study's folder, or a folder of them.")],
    everything: Annotated[bool, typer.Option("--all", help="Every run that is done or diverged.")] = False,
    sample: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="How many runs to choose. Default: 10; without runs.sqlite, all."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Worker processes. Default: all cores.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables, only the verdict.")] = False,
    as_json: Json = False,
) -> None:
    """Run stored runs again in fresh processes and compare them bit for bit. Nothing is written.

    A folder without runs.sqlite, such as one in git, is run again completely and compared with its manifest.json and
    its table of runs.

    Exit codes: 0 equal; 2 there is nothing to compare with; 5 something differs; 130 interrupted.
    """
    from kdrun.report.index import is_index, study_folders

    if not results.is_dir():
        raise UsageError(f"{results}: there is no such folder")
    several = is_index(results)
    from kdrun.report.verify import conclusion, conclusion_of_all, studies_document, verify_document, verify_rich
    from kdrun.verification import verify as verify_results

    shown, studies, impossible = None if quiet else listener(), [], dict[str, UsageError]()
    for folder in study_folders(results) if several else [results]:
        try:
            found = verify_results(folder, sample, everything=everything, workers=workers, listener=shown)
        except UsageError as error:
            if not several:
                raise
            impossible[str(folder)] = error
            say(f"kdrun: {folder.name}: {error}", err=True)
            continue
        studies.append(found)
        if quiet and not as_json:
            typer.echo(f"{found.study}: {conclusion(found)}")
        elif not as_json:
            # Lines that are long are to be read whole, also where nobody sees a terminal.
            console().print(verify_rich(found), crop=False)
    if as_json:
        print_json(studies_document(studies, impossible) if several else verify_document(studies[0]))
    elif several:
        typer.echo(conclusion_of_all(studies, impossible))
    codes = [found.exit_code for found in studies] + [error.exit_code for error in impossible.values()]
    raise typer.Exit(max(codes))


@app.command(epilog="Example: kdrun compare results/sine out/sine")
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Results folder of a study.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one; differences are B minus A.")],
    as_json: Json = False,
) -> None:
    """Compare two results folders by treatment: paired differences with intervals, or "identical".

    Exit codes: 0 both hold the same runs with the same bits; 1 something differs; 2 they cannot be compared.
    """
    from kdrun.comparison import compare as compare_results
    from kdrun.report.compare import compare_document, compare_rich

    found = compare_results(a, b)
    if as_json:
        print_json(compare_document(found))
    else:
        console().print(compare_rich(found))
    raise typer.Exit(0 if found.identical else 1)


@app.command(epilog="Example: kdrun show results/sine 1f3a")
def show(
    results: ResultsFolder,
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Id of a run, or its first letters.")],
) -> None:
    """Show everything about one run: levels, responses, history, traceback."""
    from kdrun.report.details import run_details
    from kdrun.results import Results

    found = Results.open(results)
    run = found.find_run(run_id)
    console().print(run_details(run, found.outcome_of(run), run.spec))
    if not found.is_planned(run):
        say("This run is stored, and in no table: the study asks for it no longer.")


@app.command(epilog="Example: kdrun export results/sine --run 1f3a --format npz --output network.npz")
def export(
    results: ResultsFolder,
    run_id: Annotated[str, typer.Option("--run", metavar="RUN_ID", help="Id of a run, or its first letters.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")],
    format_: Annotated[ExportFormat, typer.Option("--format", help="File format.")] = ExportFormat.npz,
) -> None:
    """Write a trained network out of the store."""
    from kdrun.results import Results
    from kdrun.store.export import export_npz

    if output.is_dir():
        raise UsageError(f"{output}: this is a folder; give the name of a file, such as network.npz")
    found = Results.open(results)
    run = found.find_run(run_id)
    try:
        with found.store() as store:
            export_npz(store, run.run_id, output)
    except OSError as error:
        raise UsageError(f"{output}: it cannot be written: {error.strerror or error}") from None
    say(f"{run.title}: {format_.value} written to {output}")


@app.command(name="list", epilog="Example: kdrun list gradient")
def list_(
    group: Annotated[str | None, typer.Argument(metavar="[FAMILY]", help="Only this family, or `tasks`.")] = None,
    as_json: Json = False,
) -> None:
    """List tasks and techniques by family, with parameters, defaults and sources."""
    from kdrun.catalogue import catalogue
    from kdrun.report.details import catalogue as catalogue_table
    from kdrun.study.wording import did_you_mean

    groups = catalogue()
    if group is not None:
        groups = {title: entries for title, entries in groups.items() if title.split(" ")[0] == group}
        if not groups:
            names = [title.split(" ")[0] for title in catalogue()]
            raise UsageError(f"there is no family {group!r}; known: {', '.join(names)}{did_you_mean(group, names)}")
    if as_json:
        print_json(groups)
    else:
        out = console()
        out.print(catalogue_table(groups, out.width))


@app.command(epilog="Example: kdrun new sine > sine.yaml")
def new(
    template: Annotated[str | None, typer.Argument(metavar="[TEMPLATE]", help="Name of a template.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="File to write; must not exist.")
    ] = None,
) -> None:
    """Print a commented study file to start from; without a name, list the templates."""
    from kdrun.study.template import template_names, template_text

    if template is None:
        typer.echo("\n".join(template_names()))
        return
    text = template_text(template)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output}: this file exists, and it is not overwritten") from None


@app.command(epilog="Example: kdrun schema > kdrun.schema.json")
def schema() -> None:
    """Print the JSON Schema of a study, for editors."""
    from kdrun.study.schema import json_schema

    print_json(json_schema())


def _again() -> str:
    """The command that goes on where this one stopped."""
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--fresh", "--yes")]
    return shlex.join(["kdrun", *arguments])


def main() -> None:
    """Run a command; a user's mistake ends with its text and code, never with a traceback."""
    open_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A large study is many objects and few cycles: looking for cycles less often saves a sixth of its time.
    gc.set_threshold(200_000, 20, 100)
    # Python looks once more when it ends, for most of a second, through what the system takes back anyway.
    atexit.register(gc.freeze)
    warn_in_plain_lines()
    try:
        app()
    except Interrupted as error:
        say(f"{error}. Go on with: {_again()}", err=True)
        # Everything that is to be kept is stored; pictures that are still being drawn are not waited for.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(error.exit_code)
    except StudyError as error:
        say(str(error), err=True)
        sys.exit(error.exit_code)
    except KdrunError as error:
        say(f"kdrun: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        say(f"kdrun: {place_of(error)}: {error.strerror or error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
