"""The training contract: the slots that one training step goes through, and what fills them.

A technique is a level of a family: one file with one class that fills one slot. Levels know the core and this page,
never each other; the trainer (engine/train.py) knows the slots, never a level. Slots that a study leaves empty cost
nothing.

    0 batch      `Curriculum`      which examples the step sees
    1 quantize   `Quantizer`       latent weights -> effective weights, with `Granularity`, `QuantizationSchedule`
    2 forward    the network       effective weights, inputs -> named outputs; `Activations` rounds what is hidden
    3 terms      `Term`            outputs -> value per sample, gradients; `HyperParameter` feeds them; `Penalty`
      weighting  `Weighting`       a weight per sample
    4 credit     `Credit`          gradients of outputs -> gradients of effective weights (default: backpropagation)
    5 shape      `GradientShape`   gradients of effective -> of latent weights
    6 optimizer  `Optimizer`       gradients -> update, group by group (`GroupSettings`, `LearningRateSchedule`)
    7 project    `Projection`      parameters -> parameters, after the update
    8 gate       `Gate`            keep the update, or restore everything

Arrays are C-contiguous and of the network's dtype (float32 in training, float64 in checks). Outputs are time-major:
[T, B, ...], or [B, ...] where the network has no time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from kdrun.core.parameters import ParameterSet
from kdrun.core.random import Stream
from kdrun.core.search import CodedNetwork
from kdrun.core.softmax import shares_of_mask

Array = NDArray[Any]
Arrays = Mapping[str, Array]
Forward = Callable[[Array, frozenset[str]], Arrays]
NOTHING: Mapping[str, Any] = MappingProxyType({})
FLOAT_BITS = 32
# What a study writes for a slot that stays empty.
EMPTY = "none"


class Record(Protocol):
    """Adds a value to a series of the run's history; `count` adds it to the sum of those before."""

    def __call__(self, name: str, value: float, count: bool = False) -> None:
        """Record one value of this step."""
        ...


def _no_record(name: str, value: float, count: bool = False) -> None:
    """Nothing is recorded outside training."""


class Named(BaseModel):
    """Something that a study names, with its parameters as fields: a level, or a task."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str]
    source: ClassVar[str]


class Progress(NamedTuple):
    """Where training stands: `step` of `steps` (from 0), and the stage of a curriculum that has stages."""

    step: int
    steps: int
    stage: int = 0
    stage_step: int = 0

    @property
    def fraction(self) -> float:
        """step / steps, in [0, 1)."""
        return self.step / self.steps


class Batch(NamedTuple):
    """Examples of one step: `inputs`, what the task's terms need by name, a loss mask, and identities of examples.

    inputs [T, B, D] or [B, D]; targets: named arrays, time-major like the outputs; mask [T, B] or None;
    ids int64 [B] where examples come from a fixed set, else None. `kind` names a batch that is of a kind of its own
    (poisoned, say): such batches are counted, and those of them whose update a gate refuses.
    """

    inputs: Array
    targets: Arrays
    mask: Array | None = None
    ids: NDArray[np.int64] | None = None
    kind: str = ""

    def shares(self, rows: int) -> Array:
        """What each row of the outputs counts for in a mean over all `rows`, T·B or B: float64 [rows], 1 in all."""
        shares = np.full(rows, 1.0 / rows)
        if self.mask is not None:
            shares_of_mask(self.mask.reshape(-1), shares)
        return shares


@dataclass(frozen=True)
class Shapes:
    """What a slot may size its own arrays by: outputs of student and teachers, and all parameters, by name.

    The leading axes T and B of outputs are left out: `hidden` of a CfC with 16 units is (16,).
    """

    student: Mapping[str, tuple[int, ...]]
    teachers: tuple[Mapping[str, tuple[int, ...]], ...]
    parameters: Mapping[str, tuple[int, ...]]
    dtype: np.dtype[Any]


@dataclass
class Context:
    """What a slot is handed besides its arguments. `own` is trained with it, `state` is what it remembers.

    `parameters` are the latent parameters of the network, to be read: columns of wider arrays where students stand side
    by side, so not always contiguous. `teachers` run the teachers on any inputs;
    `record` adds to the run's history: the last value of a series, or with `count` the sum so far.

    `hyper` holds the values of hyper-parameters that a term declares in `hyper_names`. `state` changes in
    `Level.remember` only and is restored when a gate refuses a step. `sample_weights` [B], where a weighting is in
    force, are what a per-sample term applies to the gradients of its own arrays and hyper-parameters.
    """

    own: Arrays
    state: dict[str, Array]
    progress: Progress
    stream: Stream
    hyper: Mapping[str, Any] = field(default_factory=dict)
    sample_weights: Array | None = None
    parameters: Arrays = field(default_factory=dict)
    teachers: tuple[Forward, ...] = ()
    record: Record = _no_record


@dataclass(frozen=True)
class GroupSettings:
    """What a group of trained arrays asks of the optimizer.

    `lr` multiplies the study's learning rate; `sign` −1 turns descent into ascent (gradient reversal); `clip` is the
    group's own bound on its gradient norm, None for no clipping.
    """

    lr: float = 1.0
    sign: float = 1.0
    clip: float | None = None


class Level(Named):
    """A technique: fills one slot. `equation` is its definition as text, for `kdrun list` and the documentation."""

    equation: ClassVar[str]

    def init(self, stream: Stream, shapes: Shapes) -> tuple[Arrays, dict[str, Array]]:
        """Arrays that this slot trains, and arrays that it remembers. Default: none."""
        return {}, {}

    def group(self, progress: Progress) -> GroupSettings:
        """How the optimizer treats the arrays that this slot trains."""
        return GroupSettings()

    def own_loss(self, context: Context) -> tuple[float, Arrays]:
        """A term on the slot's own arrays alone (an anchor, say): its value, and its gradients. Default: none."""
        return 0.0, {}

    def remember(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> None:
        """Update `context.state` once a step (a memory bank, an average); a refused step is forgotten again."""


class Curriculum(Level):
    """Slot 0: chooses the examples of a step, and the stage that training is in."""

    def batch(self, context: Context, forward: Forward, data: Any) -> Batch:
        """The batch of this step; `data` is the task's training data (see tasks/contract.py)."""
        raise NotImplementedError

    def stage(self, context: Context, last_value: float) -> int:
        """The stage of the coming step, from what is remembered and the loss of the step before (nan at first)."""
        return 0


class Granularity(Level):
    """Slot 1: how many scales a matrix stores, and how they spread over its columns.

    Default: each column's own, [fan_out]. One that has no `grouped`, `spread` or `gather` of its own costs nothing: the
    scales of the columns are then what is stored.
    """

    @property
    def is_own(self) -> bool:
        """Whether every column has a stored scale of its own."""
        return all(getattr(type(self), name) is getattr(Granularity, name) for name in ("grouped", "spread", "gather"))

    def stored_shape(self, fan_out: int) -> tuple[int, ...]:
        """Shape of what is stored for a matrix [fan_in, fan_out]."""
        raise NotImplementedError

    def grouped(self, w_latent: Array) -> Array:
        """The weights of each stored scale as a column, [weights, stored scales]: what scales are measured from."""
        return w_latent

    def spread(self, stored: Array, columns: Array) -> None:
        """Write the scale of each column [fan_out]."""
        columns[:] = stored

    def gather(self, d_columns: Array, d_stored: Array) -> None:
        """Write the gradient of the stored scales: the transpose of `spread`."""
        d_stored[:] = d_columns


class Quantizer(Level):
    """Slots 1, 5 and 7 for a weight matrix [fan_in, fan_out] whose columns have scales of their own.

    `scale_names` are the arrays of a matrix that are stored with its codes; each is [fan_out] here, whatever the
    granularity stores. They are trained, but for those in `measured_names`, which follow from the latent weights and
    are constants to every gradient.
    """

    scale_names: ClassVar[tuple[str, ...]] = ()

    @property
    def max_code(self) -> int:
        """Codes run from −max_code to max_code; 0 means that weights are not quantized."""
        raise NotImplementedError

    @property
    def bits(self) -> int:
        """Stored bits of one weight: as many as tell its codes apart, or those of a float."""
        return (2 * self.max_code).bit_length() or FLOAT_BITS

    @property
    def kept_names(self) -> tuple[str, ...]:
        """Those of `scale_names` that `effective` reads: what has to be kept beside codes. Default: all of them."""
        return self.scale_names

    @property
    def measured_names(self) -> tuple[str, ...]:
        """Those of `scale_names` that are measured anew after every step, instead of trained. Default: none."""
        return ()

    def is_in_force(self, progress: Progress) -> bool:
        """Whether the network runs on quantized weights; else on latent ones, which then have plain gradients.

        It is asked for before every step, and at fraction 1 for what is left once training is over.
        """
        return True

    def measure(self, w_latent: Array, scales: Arrays) -> None:
        """Write the initial scales, one of each name for every column of the latent weights."""
        raise NotImplementedError

    def remeasure(self, w_latent: Array, scales: Arrays) -> None:
        """Write the scales of `measured_names`, and no others. Default: those of `measure`, where it is all of them."""
        self.measure(w_latent, scales)

    def quantize(self, w_latent: Array, scales: Arrays, codes: Array, w_eff: Array) -> None:
        """Write codes (integers, kept as numbers of the dtype) and effective weights [fan_in, fan_out]."""
        raise NotImplementedError

    def effective(self, codes: Array, scales: Arrays, w_eff: Array) -> None:
        """Write the effective weights of given codes: what is left of `quantize` when codes are frozen."""
        raise NotImplementedError

    def unit(self, w_latent: Array, scales: Arrays) -> Array:
        """Width of one code's cell in each column [fan_out]: the boundaries lie at ±½, ±1½, … units."""
        raise NotImplementedError

    def backward(self, dw_eff: Array, w_latent: Array, codes: Array, scales: Arrays, dscales: Arrays) -> None:
        """Write the gradients of the trained scales. It is not asked of a quantizer that trains none."""
        raise NotImplementedError

    def along_scales(self, w_latent: Array, codes: Array, start: Arrays, scales: Arrays, w_eff: Array) -> None:
        """Write the effective weights whose derivative by the scales, at `start`, is what `backward` says.

        The gradient check alone asks for it. Default: those of frozen codes, which is exact; a surrogate says here what
        it is the gradient of.
        """
        self.effective(codes, scales, w_eff)

    def scale_kinks(self, unit: Array) -> Array:
        """Where gradients of scales jump, besides the boundaries between codes: points [n, fan_out]. Default: none."""
        return np.empty((0, unit.size))

    def pull_inplace(self, w_latent: Array, w_eff: Array, progress: Progress) -> None:
        """Slot 7: draw latent weights to their effective ones after a step. Without one of its own it costs nothing."""

    def project_inplace(self, w_latent: Array, stored: Arrays, progress: Progress) -> None:
        """Slot 7: put weights and stored scales back where they must be (a floor)."""


class Activations(Level):
    """Slot 2: how the student rounds its hidden values, inside its passes. Gradients take it for the identity."""

    @property
    def grid(self) -> int:
        """Hidden values, in [−1, 1], become multiples of 1/grid."""
        raise NotImplementedError


class QuantizationSchedule(Level):
    """Slot 1: which quantizer is in force. A switch starts new scales and clears the optimizer's moments.

    One without a `quantizer_name` of its own costs nothing.
    """

    def quantizer_name(self, progress: Progress, final: str) -> str:
        """The name of the quantizer of this step; `final` is the one that the study asks for."""
        return final

    def quantizer_names(self, final: str) -> tuple[str, ...]:
        """Every name that `quantizer_name` gives, in order: all of them are checked before anything is trained."""
        return (final,)


class GradientShape(Level):
    """Slot 5: the mask m(w) that a surrogate gradient multiplies d_effective by."""

    def mask(self, w_latent: Array, unit: Array, max_code: int, progress: Progress, mask: Array) -> bool:
        """Write m(w) [fan_in, fan_out] and return True; return False where m is 1 everywhere (nothing is written).

        Default: 1 everywhere. A shape without a mask of its own costs nothing.
        """
        return False

    def antiderivative(self, w: Array, unit: Array, max_code: int, progress: Progress) -> Array:
        """M(w) with M' = m between kinks, in plain numpy: what the gradient check differentiates numerically."""
        raise NotImplementedError

    def kinks(self, unit: Array, max_code: int, progress: Progress) -> Array:
        """Where m is not smooth, for one column: points [n, fan_out]; the check keeps away from them."""
        raise NotImplementedError


class TermResult(NamedTuple):
    """Value and gradients of a term.

    value: float64, [B] for a per-sample term, [1] for a batch term. `d_outputs` are the gradients of the mean of
    `value` by the student's outputs, unweighted; `d_own` and `d_hyper` are those by the term's own arrays and
    hyper-parameters, of the mean of sample_weights·value where a weighting is in force. The trainer may overwrite them.
    """

    value: Array
    d_outputs: Arrays = NOTHING
    d_own: Arrays = NOTHING
    d_hyper: Mapping[str, Any] = NOTHING


class Term(Level):
    """Slot 3: one term of the loss. `want` and `teacher_want` name the outputs that it reads.

    `same_width` names those that it compares number by number, so that student and teacher must have as many. A term
    with kinks has finite differences taken in steps that are `check_step` times as long.
    """

    per_sample: ClassVar[bool] = True
    want: ClassVar[frozenset[str]] = frozenset()
    teacher_want: ClassVar[frozenset[str]] = frozenset()
    same_width: ClassVar[frozenset[str]] = frozenset()
    check_step: ClassVar[float] = 1.0
    hyper_names: ClassVar[tuple[str, ...]] = ()

    def weight(self, progress: Progress) -> float:
        """The term's coefficient in the loss; 0 leaves it out of this step."""
        return 1.0

    def supervised_weight(self, progress: Progress) -> float:
        """What the term multiplies the task's own loss by: 1 − α for a term that shares the loss with it."""
        return 1.0

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value and gradients, with weight 1. Pure: what is remembered changes in `remember` alone."""
        raise NotImplementedError

    def evaluate_each(
        self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, weight: float, value: Array, slopes: Arrays
    ) -> None:
        """`evaluate` for M students that have this term, over one batch, bit for bit; it may have one.

        `student` holds their outputs [M, ...]. Overwritten: `value` [M, B], and `slopes`, [M, ...] for every output in
        `want`: the gradients, each multiplied by `weight`. Only a per-sample term that reads nothing of its context,
        trains nothing and remembers nothing can have it: it saves students in step a call for each of them.
        """
        raise NotImplementedError

    @classmethod
    def takes_several(cls) -> bool:
        """Whether it has an `evaluate_each` that it can have, and not one inherited beside an `evaluate` of its own."""
        first = next(kind for kind in cls.__mro__ if {"evaluate", "evaluate_each"} & vars(kind).keys())
        can_have = cls.per_sample and not cls.hyper_names
        return can_have and first is not Term and "evaluate_each" in vars(first)

    def is_smooth(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> bool:
        """Whether finite differences stay clear of kinks of the term: six points, up to 0.03·check_step away."""
        return True


class Penalty(Level):
    """Slot 3: a term on latent parameters alone; it joins after weighting and after the gradient shape."""

    def evaluate(self, latent: Arrays, context: Context) -> tuple[float, Arrays]:
        """Value, and gradients of the latent parameters that it depends on."""
        raise NotImplementedError


class HyperParameter(Level):
    """Feeds a hyper-parameter (temperature, weights of teachers) to the terms that declare it."""

    provides: ClassVar[str]

    def value(self, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> Any:
        """The value at this step."""
        raise NotImplementedError

    def backward(self, d_value: Any, context: Context) -> Arrays:
        """Gradients of the slot's own arrays from the gradient by the value."""
        return {}


class Temperature(NamedTuple):
    """What the hyper-parameter `temperature` provides, to terms on softened distributions.

    `value` is T; `squared` is what a term that is scaled by T² multiplies by, which a level may hold constant. Where
    the temperature is learned, `d_hyper` of such a term is its gradients by both, float64 [2].
    """

    value: float = 1.0
    squared: float = 1.0
    is_learned: bool = False

    @classmethod
    def fixed(cls, value: float) -> Temperature:
        """A temperature that is not learned."""
        return cls(value, value * value)


class Weighting(Level):
    """A weight per sample, multiplying all per-sample terms.

    Weights are constants to the network: they may depend on teachers, targets and the slot's own arrays, but not on
    `value`, which is there for the gradients of those arrays.
    """

    teacher_want: ClassVar[frozenset[str]] = frozenset()

    def weights(
        self, value: Array, teachers: tuple[Arrays, ...], batch: Batch, context: Context
    ) -> tuple[Array, Arrays]:
        """w [B] and the gradients of the slot's own arrays, from the summed per-sample values [B]."""
        raise NotImplementedError


class Credit(Level):
    """Slot 4: gradients of the effective weights from those of the outputs, without backpropagation."""

    want: ClassVar[frozenset[str]] = frozenset()

    def assign(
        self,
        weights: Arrays,
        student: Arrays,
        d_outputs: Arrays,
        batch: Batch,
        forward: Forward,
        gradients: Arrays,
        context: Context,
    ) -> Arrays:
        """Write `gradients` of every network parameter in place; return the gradients of the slot's own arrays."""
        raise NotImplementedError


class LearningRateSchedule(Level):
    """Slot 6: how the learning rate moves with progress."""

    def factor(self, progress: Progress) -> float:
        """What the optimizer's learning rate is multiplied by at this step."""
        raise NotImplementedError


class Optimizer(Level):
    """Slot 6: how a group of trained arrays follows its gradient. `lr` and `clip` are fields of every optimizer."""

    lr: float
    clip: float | None

    def start(self, size: int, dtype: np.dtype[Any]) -> dict[str, Array]:
        """What the optimizer remembers of a group of `size` numbers; all of it is restored when a gate refuses."""
        raise NotImplementedError

    def update_inplace(self, flat: Array, gradient: Array, memory: dict[str, Array], factor: float, lr: float) -> None:
        """One step over flat buffers: `factor` is what the gradient is multiplied by, `lr` this step's rate.

        The factor holds the clipping of a slot's own arrays, and their sign; the gradients of networks come clipped.
        """
        raise NotImplementedError


class Comparator(Level):
    """Something made outside the factorial from a finished run: quantized or searched without training.

    `starts_from` says from which run of the replicate: treatment 1 (`baseline`) or its teacher (`teacher`), whose
    weights are then quantized as they are.
    """

    starts_from: ClassVar[str]

    def refine(self, network: CodedNetwork) -> Mapping[str, list[float]]:
        """Change the codes in place; return series for the run's history, by name."""
        raise NotImplementedError


class Projection(Level):
    """Slot 7: acts on all latent parameters after the update."""

    def project_inplace(self, parameters: ParameterSet, context: Context) -> None:
        """Change the parameters in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class Candidate:
    """A student that a gate judges: its latent parameters, and how to run it."""

    parameters: ParameterSet
    forward: Forward


class Gate(Level):
    """Slot 8: judges a proposed update. A refusal restores parameters, optimizer, `own` and `state` to the bit.

    `want` names the outputs of student and teacher that it looks at.
    """

    want: ClassVar[frozenset[str]] = frozenset()

    def accept(self, before: Candidate, proposed: Candidate, batch: Batch, context: Context) -> bool:
        """True keeps the update. What a candidate's `forward` returns is valid until the next call of either."""
        raise NotImplementedError


class Teachers(Level):
    """Which teachers a student has: each is a run that the student needs."""

    def members(self, teacher: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
        """The resolved `teacher` section of each member, made from the study's."""
        raise NotImplementedError


@dataclass(frozen=True)
class Family:
    """A folder of levels: what contract they fulfil, and which key of a study they are the values of.

    `default` is the level of a study that does not name one; None means that the slot stays empty, which a study
    writes as `EMPTY`.
    """

    name: str
    contract: type[Level]
    key: str
    default: str | None
    title: str
