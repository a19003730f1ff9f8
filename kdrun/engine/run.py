"""One run from its record: a pure function of its spec, its random streams and the outcomes that it needs."""

from __future__ import annotations

import math
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kdrun.core.parameters import ParameterSet
from kdrun.core.random import outside_seed
from kdrun.engine import output
from kdrun.engine.coded import Coded
from kdrun.engine.cohort import kept
from kdrun.engine.company import Company, companies
from kdrun.engine.joint import may_be_joint
from kdrun.engine.objective import Losses, Objective, TeacherModel
from kdrun.engine.quantized import QuantizedParameters
from kdrun.engine.recipe import Recipe, recipe_of
from kdrun.engine.train import Diverged, Series, Trainer
from kdrun.factors.contract import Arrays, Comparator, LearningRateSchedule, Level, Optimizer
from kdrun.models.contract import Network
from kdrun.records import PRINTED, History, Outcome, Run
from kdrun.study.choice import LevelChoice, TaskChoice
from kdrun.study.plain import canonical
from kdrun.study.schema import Sections, Student, Teacher, student_families
from kdrun.tasks.contract import ExternalTask, RunFailed, TrainingTask, streams_of

Responses = dict[str, float]
DTYPE = np.dtype(np.float32)
LONGEST_ERROR = 20_000


@dataclass(frozen=True)
class Finished:
    """A run that another one needs, with what came of it."""

    run: Run
    outcome: Outcome


@dataclass(frozen=True)
class Job:
    """A run to do, and the finished ones that it needs."""

    run: Run
    needed: tuple[Finished, ...] = ()


@dataclass(frozen=True)
class _Trained:
    """What training gives: measured responses, the arrays to keep, and series.

    Where it is not known which responses count, those that are numbers are kept beside one that is not (`keeps_rest`).
    """

    responses: Mapping[str, float]
    parameters: Arrays = field(default_factory=dict)
    history: Mapping[str, History] = field(default_factory=dict)
    keeps_rest: bool = False


_Making = Generator[None, None, _Trained]


def execute_each(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do some runs, one after another."""
    for job in jobs:
        yield execute(job.run, job.needed)
        output.forget()


def execute_all(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do some runs, those in step that have much to share. But for seconds each comes to what it comes to by itself."""
    waiting = iter(jobs)
    for members in companies([job.run for job in jobs]):
        yield from _outcomes_of(list(islice(waiting, len(members))))
        output.forget()


def execute(run: Run, needed: tuple[Finished, ...]) -> Outcome:
    """Do one run. Whatever goes wrong inside it becomes its outcome, never an exception."""
    return _outcomes_of([Job(run, needed)])[0]


def _outcomes_of(jobs: Sequence[Job]) -> list[Outcome]:
    """Do runs in step, each at its own pace: one that ends, diverges or fails by itself leaves the others to go on."""
    company = Company()
    started = [_Started(number, job, company) for number, job in enumerate(jobs)]
    going = deque(started)
    while going:
        for _ in range(len(going)):
            run = going.popleft()
            if run.goes_on():
                going.append(run)
        # Who comes first makes what others use too: each does so in turn, so that none looks slower.
        going.rotate(-1)
    return [run.outcome for run in started]


class _Started:
    """A run on its way. `outcome` is what it came to, once it does not go on."""

    outcome: Outcome

    def __init__(self, number: int, job: Job, company: Company) -> None:
        self._number, self._run_id, self._ledger, self._seconds = number, job.run.run_id, company.ledger, 0.0
        self._making = _maker_of(job.run)(job.run, job.needed, company)

    def goes_on(self) -> bool:
        """Take its next step. Whatever goes wrong inside becomes its outcome, never an exception."""
        ledger = self._ledger
        ledger.stepping = self._number
        start = time.perf_counter() - ledger.metered
        try:
            next(self._making)
            return True
        except StopIteration as end:
            self.outcome = _judged(self._run_id, end.value)
        except Diverged as error:
            self.outcome = Outcome(self._run_id, "diverged", error=str(error))
        # Code of the user's own may leave by sys.exit, or by whatever else it raises, which would end the worker.
        except BaseException as error:
            self.outcome = Outcome(self._run_id, "failed", error=_what_went_wrong(error))
        finally:
            self._seconds += time.perf_counter() - ledger.metered - start
        self.outcome = replace(self.outcome, seconds=self._seconds + ledger.settle(self._number))
        return False


def _judged(run_id: str, trained: _Trained) -> Outcome:
    """The outcome of a run that came to its end: diverged where a response is no number."""
    numbers = {name: value for name, value in trained.responses.items() if math.isfinite(value)}
    unbounded = [name for name in trained.responses if name not in numbers]
    if unbounded:
        rest = numbers if trained.keeps_rest else {}
        return Outcome(run_id, "diverged", rest, error=f"{', '.join(unbounded)}: not finite")
    return Outcome(run_id, "done", trained.responses, dict(trained.parameters), dict(trained.history))


def _what_went_wrong(error: BaseException) -> str:
    """The traceback, from where code of the user's own begins, and the end of what was printed."""
    # Python does not let this one out of a generator, as which runs are done, but makes it the cause of another.
    if isinstance(error.__cause__, StopIteration):
        error = error.__cause__
    if isinstance(error, RunFailed):
        text = str(error)
    else:
        text = "".join(traceback.format_exception(type(error), error, outside_kdrun(error.__traceback__)))
    text, printed = _storable(text.rstrip()), output.printed()
    return f"{text}{PRINTED}{printed}" if printed else text


def _storable(text: str) -> str:
    """What UTF-8 can hold of a text, of a very long one the beginning and the end."""
    if len(text) > LONGEST_ERROR:
        text = f"{text[: LONGEST_ERROR // 2]}\n…\n{text[-LONGEST_ERROR // 2 :]}"
    return text.encode(errors="backslashreplace").decode()


def outside_kdrun(trace: TracebackType | None) -> TracebackType | None:
    """The frames from the first one on that is not kdrun's; all of them where there is no other."""
    package, first = str(Path(__file__).parents[1]), trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(package):
        first = first.tb_next
    return first or trace


class _Setting:
    """What every kind of training run starts from: its task, its model, and its random streams."""

    def __init__(self, run: Run, role: str) -> None:
        self.sections = Sections.model_validate(
            {key: run.spec[key] for key in ("task", "model", "teacher", "student") if key in run.spec}
        )
        task = self.sections.task
        if not isinstance(task, TrainingTask):
            raise TypeError(f"task {task.name!r} trains no network")
        self.task = task
        self.stream = streams_of(int(run.spec["seed"]), run.replicate, role)

    def network(self) -> Network:
        """The network of the run's own model."""
        assert self.sections.model is not None
        return self.sections.model.build(self.task.inputs, self.task.heads, self.task.step_time, DTYPE)

    def responses(
        self, last_loss: float, series: Series, forward: Callable[[Any, frozenset[str]], Arrays]
    ) -> Responses:
        """Every response of the task."""
        training = self.task.training_responses(last_loss)
        recorded = self.task.recorded_responses(series.last_values(), series.last + 1)
        return {**training, **recorded, **self.task.evaluate(forward, self.stream, DTYPE)}


def _train_teacher(run: Run, needed: tuple[Finished, ...], company: Company) -> _Making:
    setting = _Setting(run, "teacher")
    teacher = setting.sections.teacher
    assert teacher is not None
    network = setting.network()
    latent = network.initial_parameters(setting.stream("init"), DTYPE)
    objective = Objective(network, latent, setting.task.teacher_loss(), Recipe(), (), setting.stream)
    data, series = setting.task.teacher_data(setting.stream, DTYPE), Series.of(teacher.epochs)
    last = yield from _trainer(objective, teacher, company, run).stepwise(data, teacher.epochs, series)
    return _concluded(setting, objective, series, last)


def _measure(run: Run, needed: tuple[Finished, ...], company: Company) -> _Making:
    # It is one step.
    yield from ()
    task = TaskChoice().read(dict(run.spec["task"]))
    assert isinstance(task, ExternalTask)
    return _Trained(task.measure(outside_seed(int(run.spec["seed"]), run.replicate)), keeps_rest=True)


def _train_student(run: Run, needed: tuple[Finished, ...], company: Company) -> _Making:
    setting = _Setting(run, "student")
    student = setting.sections.student
    assert student is not None
    teachers = tuple(
        company.teacher(run.replicate, finished.run, partial(_trained_network, finished)) for finished in needed
    )
    recipe = recipe_of(techniques(student), student.supervised_weight)
    network = company.network((canonical(run.spec["model"]), recipe.grid), setting.network)
    latent = _initial_latent(setting, student, network, teachers)
    kind = _kind_of_cohort(run) if recipe.may_stand_beside_others else None
    place = company.place(kind)
    # All take their places, so that it is known how many there are; then all bring their parameters, before any are
    # quantized. Students that stand alone wait as well, so that all take their first step together.
    yield
    cohort = company.cohort(kind, network, latent, recipe)
    objective = Objective(network, latent, setting.task.loss(), recipe, teachers, setting.stream, cohort, place)
    trainer = _trainer(objective, student, company, run)
    try:
        data = company.data(run.replicate, lambda: setting.task.training_data(setting.stream, DTYPE))
        series = Series.of(student.epochs)
        yield
        last = yield from trainer.stepwise(data, student.epochs, series)
    except BaseException:
        trainer.leave()
        raise
    return _concluded(setting, objective, series, last)


def _kind_of_cohort(run: Run) -> Hashable:
    """Equal for students whose networks are of one kind, and quantized and updated alike."""
    alike = ("activations", "quantizer", "optimizer", "lr_schedule", "epochs")
    return canonical({"model": run.spec["model"], **{name: run.spec["student"].get(name) for name in alike}})


def techniques(student: Student) -> dict[str, Level]:
    """The levels of a student section by family, empty slots left out."""
    chosen = {key: getattr(student, key) for key in student_families()}
    return {key: level for key, level in chosen.items() if level is not None}


def _trained_network(finished: Finished) -> TeacherModel:
    return TeacherModel(_Setting(finished.run, "teacher").network(), finished.outcome.parameters)


def _initial_latent(
    setting: _Setting, student: Student, network: Network, teachers: tuple[TeacherModel, ...]
) -> ParameterSet:
    latent = network.initial_parameters(setting.stream("init"), DTYPE)
    if student.init == "teacher":
        latent.assign({name: teachers[0].weights[name] for name in latent})
    return latent


def _trainer(objective: Objective, section: Teacher | Student, company: Company, run: Run) -> Trainer:
    """What takes the steps that a section of a study asks for."""
    optimizer, schedule = (getattr(section, name) for name in ("optimizer", "lr_schedule"))
    assert isinstance(optimizer, Optimizer)
    assert isinstance(schedule, LearningRateSchedule)
    joint = company.joint(run.replicate, objective) if may_be_joint(objective) else None
    return Trainer(objective, optimizer, schedule, joint)


def _concluded(setting: _Setting, objective: Objective, series: Series, last: Losses) -> _Trained:
    """What a trained network comes to."""
    responses = setting.responses(last.supervised, series, objective.forward)
    return _Trained(responses, objective.kept(), series.histories())


def _make_comparator(run: Run, needed: tuple[Finished, ...], company: Company) -> _Making:
    # It is one step.
    yield from ()
    setting = _Setting(run, "comparator")
    assert setting.sections.student is not None
    comparator = LevelChoice("comparators").read(dict(run.spec["comparator"]))
    assert isinstance(comparator, Comparator)
    network, source = setting.network(), needed[0].outcome.parameters
    latent = ParameterSet({name: tensor.shape for name, tensor in network.tensors.items()}, DTYPE)
    latent.assign({name: source[name] for name in latent})
    recipe = recipe_of(techniques(setting.sections.student))
    network.grid = recipe.grid
    quantized = _quantized(recipe, network, latent, source)
    batch = setting.task.calibration_batch(setting.stream, DTYPE)
    coded = Coded(network, quantized, setting.task.loss(), batch)
    series = comparator.refine(coded)
    # There was no last epoch, so there is no training response; what the search went by is in the history.
    responses = setting.task.evaluate(
        lambda inputs, want: network.forward(quantized.weights, inputs, want), setting.stream, DTYPE
    )
    history = {name: History(np.arange(len(values)), np.array(values)) for name, values in series.items()}
    codes = {name: quantized.codes[name] for name in quantized.tensors}
    return _Trained(responses, kept(latent, quantized.stored, codes), history)


def _quantized(recipe: Recipe, network: Network, latent: ParameterSet, source: Arrays) -> QuantizedParameters:
    """The source's own codes and scales where it has them, else those of its weights quantized as they are."""
    if recipe.quantizer is None or recipe.granularity is None:
        raise ValueError("a comparator changes codes, but the student's quantizer is float, which has none")
    quantized = QuantizedParameters(network, latent, recipe.quantizer, recipe.granularity)
    quantized.quantize()
    if any(name.startswith("codes.") for name in source):
        quantized.load(source)
    return quantized


def _maker_of(run: Run) -> Callable[[Run, tuple[Finished, ...], Company], _Making]:
    if run.kind == "teacher":
        return _train_teacher
    if run.kind == "comparator":
        return _make_comparator
    return _train_student if "student" in run.spec else _measure
