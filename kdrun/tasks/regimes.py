"""A hidden Markov chain over regimes, each with its emissions and its worth: which comes next, and how good it gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field

from kdrun.core.losses import mean_of, squared_distance
from kdrun.core.random import Stream
from kdrun.core.softmax import highest_class
from kdrun.core.valence import exponential_weights, mean_ahead, regime_chain, standard_scores
from kdrun.factors.contract import Array, Arrays, Batch, Context, Progress, Term, TermResult
from kdrun.tasks.contract import Data, Evaluate, TrainingTask
from kdrun.tasks.losses import CrossEntropy

MEAN_SHARE, LEAST_SHARE = 0.6, 0.25
POISONED = "poisoned"


class ClassesAndValence(Term):
    """What a teacher needs of both heads: cross-entropy of the next regime, and the squared error of future valence."""

    name: ClassVar[str] = "classes_and_valence"
    source: ClassVar[str] = "kdrun's task regimes"
    equation: ClassVar[str] = "L = −log softmax(logits)[label] + (v − v*)², means over b, t"
    want: ClassVar[frozenset[str]] = frozenset({"logits", "valence"})

    def evaluate(self, student: Arrays, teachers: tuple[Arrays, ...], batch: Batch, context: Context) -> TermResult:
        """Value per sequence, and gradients of both heads."""
        classes = CrossEntropy().evaluate(student, teachers, batch, context)
        value, dvalence = squared_distance(student["valence"], batch.targets["valence"])
        return TermResult(classes.value + value, {**classes.d_outputs, "valence": dvalence})


class Regimes(TrainingTask):
    """Sequences of noisy emissions of hidden regimes. The chain moves on in a circle, now and then elsewhere.

    Regime k of K emits its mean, drawn for each replicate from U(−1, 1), with noise from U(−noise, noise). It is worth
    k/(K − 1). The network says which regime is next, and how much the coming steps are worth on average: its valence. A
    share of the students' batches may be poisoned: the regime of least worth is said to come next, and nothing to be
    worth anything. Targets have also what each regime emits, `emissions` [K, D], so that a gate can roll ahead.
    """

    name: ClassVar[str] = "regimes"
    title: ClassVar[str] = "the next of several hidden regimes, and the worth of those to come"
    source: ClassVar[str] = "kdrun's catalogue, for valence weighting"
    responses: ClassVar[Mapping[str, str]] = {
        "train_loss": "loss of the last step, before its update",
        "accuracy": "share of steps whose next regime is foretold",
        "cross_entropy": "mean of −log probability of the next regime",
        "weighted_cross_entropy": "the same, each sequence weighted by exp(λz) of its true valence, λ = weighted_by",
        "valence_mse": "mean squared error of the future valence",
        "blocked": "share of updates that the gate refused",
        "blocked_poisoned": "share of the updates on poisoned batches that the gate refused",
        "blocked_clean": "share of the updates on other batches that the gate refused",
        "selectivity": "blocked_poisoned less blocked_clean",
        "sharpness": "λ of a learned weighting at the last step; 0 where none is learned",
        "effective_sample_size": "(Σw)²/Σw² of the weights of the last step; all sequences where there are no weights",
    }
    errors: ClassVar[frozenset[str]] = frozenset(
        {"train_loss", "cross_entropy", "weighted_cross_entropy", "valence_mse"}
    )

    regimes: int = Field(4, ge=2, le=64, strict=True, description="K, number of regimes")
    emission: int = Field(4, ge=1, le=256, strict=True, description="D, numbers that a regime emits")
    noise: float = Field(1.0, ge=0.0, le=100.0, description="largest noise on an emission")
    stay: float = Field(0.8, gt=0.0, lt=1.0, description="probability that the regime stays")
    onward: float = Field(
        0.8,
        ge=0.0,
        le=1.0,
        description="of the other moves, the share that goes to the next regime; of two regimes all",
    )
    steps: int = Field(30, ge=1, le=10_000, strict=True, description="T, steps of a sequence")
    sequences: int = Field(32, ge=1, le=10_000, strict=True, description="B, sequences of a training step")
    horizon: int = Field(10, ge=1, le=1000, strict=True, description="n, coming steps whose mean worth is the valence")
    poison: float = Field(0.0, ge=0.0, le=1.0, description="share of the students' batches that are poisoned")
    eval_sequences: int = Field(256, ge=1, le=100_000, strict=True, description="sequences of the evaluation")
    weighted_by: float = Field(1.0, ge=0.0, le=10.0, description="λ of the weighted score")

    @classmethod
    def example(cls) -> Regimes:
        """Three sequences of five steps over three regimes."""
        return cls(regimes=3, emission=2, steps=5, sequences=3, horizon=3)

    @property
    def inputs(self) -> int:
        """What a regime emits."""
        return self.emission

    @property
    def outputs(self) -> int:
        """A logit for each regime, and the valence."""
        return self.regimes + 1

    @property
    def heads(self) -> Mapping[str, int]:
        """The next regime, and the valence."""
        return {"logits": self.regimes, "valence": 1}

    def loss(self) -> Term:
        """Cross-entropy of the next regime; a student learns valence where a term says so."""
        return CrossEntropy()

    def teacher_loss(self) -> Term:
        """Both heads."""
        return ClassesAndValence()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New sequences in every step, some of them poisoned."""
        return _Sequences(self, stream, dtype, self.poison)

    def teacher_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """New sequences in every step."""
        return _Sequences(self, stream, dtype, 0.0)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """Sequences drawn like training data."""
        return self._batch(stream, "calibration", 0, self.sequences, dtype)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss."""
        return {"train_loss": last_loss}

    def recorded_responses(self, recorded: Mapping[str, float], steps: int) -> Mapping[str, float]:
        """What the gate refused, of poisoned batches and of others (0 of none), and how weights ended."""
        poisoned, blocked = recorded.get(POISONED, 0.0), recorded.get("blocked", 0.0)
        blocked_poisoned = recorded.get(f"blocked_{POISONED}", 0.0)
        of_poisoned = blocked_poisoned / max(poisoned, 1.0)
        of_clean = (blocked - blocked_poisoned) / max(steps - poisoned, 1.0)
        return {
            "blocked": blocked / steps,
            "blocked_poisoned": of_poisoned,
            "blocked_clean": of_clean,
            "selectivity": of_poisoned - of_clean,
            "sharpness": recorded.get("sharpness", 0.0),
            "effective_sample_size": recorded.get("effective_sample_size", float(self.sequences)),
        }

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """On sequences that are the same for every role of a replicate."""
        batch = self._batch(stream, "task/evaluation", 0, self.eval_sequences, dtype)
        found = forward(batch.inputs, frozenset({"logits", "valence"}))
        context = Context({}, {}, Progress(0, 1), stream("evaluation"))
        value = CrossEntropy().evaluate(found, (), batch, context).value
        classes = np.empty(batch.targets["label"].size, np.int64)
        highest_class(found["logits"].reshape(-1, self.regimes), classes)
        right = int((classes == batch.targets["label"].reshape(-1)).sum())
        weights = self._true_weights(batch.targets["valence"])
        return {
            "accuracy": right / classes.size,
            "cross_entropy": mean_of(value),
            "weighted_cross_entropy": mean_of(weights * value) / mean_of(weights),
            "valence_mse": mean_of(squared_distance(found["valence"], batch.targets["valence"])[0]),
        }

    def _true_weights(self, valence: Array) -> Array:
        """exp(λz) of each sequence [B], z of 0.6 times the mean and 0.25 times the least of its valences [T, B, 1]."""
        trajectory = valence[..., 0].astype(np.float64)
        s, z = np.empty(trajectory.shape[1]), np.empty(trajectory.shape[1])
        for b in range(s.size):
            column = np.ascontiguousarray(trajectory[:, b])
            s[b] = MEAN_SHARE * mean_of(column) + LEAST_SHARE * column.min()
        standard_scores(s, z)
        exponential_weights(z, self.weighted_by, s)
        return s

    def emissions(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Array:
        """What each regime emits on average [K, D], the same for every role of a replicate."""
        return stream("task/emissions").uniform(0, (self.regimes, self.emission), -1.0, 1.0, dtype)

    def _cumulative(self) -> Array:
        """Sums of the probabilities of moving from each regime to the first, second … [K, K]."""
        # Of two regimes the only other one is the next, so that nothing is left of the rest.
        to_next = self.onward if self.regimes > 2 else 1.0
        elsewhere = (1.0 - to_next) / max(self.regimes - 2, 1)
        sums = np.zeros((self.regimes, self.regimes))
        for before in range(self.regimes):
            total = 0.0
            for after in range(self.regimes):
                moves = to_next if after == (before + 1) % self.regimes else elsewhere
                total += self.stay if after == before else (1.0 - self.stay) * moves
                sums[before, after] = total
        return sums

    def _batch(
        self, stream: Callable[[str], Stream], purpose: str, step: int, sequences: int, dtype: DTypeLike
    ) -> Batch:
        """Sequences [T, B, D] of one step of a stream, with the next regime and the valence."""
        drawn, length = stream(purpose), self.steps + self.horizon + 1
        chances = drawn.child("chain").uniform(step, (length, sequences), 0.0, 1.0, "float64")
        regimes = np.empty((length, sequences), np.int64)
        even = np.arange(1, self.regimes + 1) / self.regimes
        regime_chain(chances, even, self._cumulative(), regimes)
        valence = np.empty((self.steps, sequences))
        mean_ahead(regimes[:-1] / (self.regimes - 1), self.horizon, valence)
        emissions = self.emissions(stream, dtype)
        shape = (self.steps, sequences, self.emission)
        noise = drawn.child("noise").uniform(step, shape, -1.0, 1.0, dtype) * np.array(self.noise, dtype)
        targets = {
            "label": np.ascontiguousarray(regimes[1 : self.steps + 1]),
            "valence": valence.astype(dtype)[..., np.newaxis],
            "emissions": emissions,
        }
        return Batch(emissions[regimes[: self.steps]] + noise, targets)


class _Sequences:
    """Training data: new sequences in every step; a share of the steps is poisoned."""

    def __init__(self, task: Regimes, stream: Callable[[str], Stream], dtype: Any, poison: float) -> None:
        self._task, self._stream, self._dtype, self._poison = task, stream, dtype, poison

    def batch(self, step: int) -> Batch:
        batch = self._task._batch(self._stream, "sequences", step, self._task.sequences, self._dtype)
        chance = self._stream("poison").uniform(step, (1,), 0.0, 1.0, "float64")[0]
        return _poisoned(batch) if chance < self._poison else batch


def _poisoned(batch: Batch) -> Batch:
    """The same inputs with targets that say that the worst comes next and lasts."""
    targets = {
        **batch.targets,
        "label": np.zeros_like(batch.targets["label"]),
        "valence": np.zeros_like(batch.targets["valence"]),
    }
    return batch._replace(targets=targets, kind=POISONED)
