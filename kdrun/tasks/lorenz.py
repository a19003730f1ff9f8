"""One step ahead on the Lorenz system, which is chaotic."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike
from pydantic import BaseModel, ConfigDict, Field

from kdrun.core.random import Stream
from kdrun.core.signals import lorenz_orbits
from kdrun.factors.contract import Array
from kdrun.tasks.one_step import OneStepAhead

# Mean and standard deviation of x, y, z on the attractor, from 1.2 million points of 200 orbits; x and y have mean 0 by
# symmetry. They are constants, so that no data decides how data is scaled.
CENTRE = (0.0, 0.0, 23.55)
SPREAD = (7.924, 9.011, 8.623)
# Starting points fill this box around the attractor; the burn-in takes them onto it.
LOWEST, HIGHEST = (-15.0, -15.0, 10.0), (15.0, 15.0, 40.0)
# A demonstration lasts some turns of the orbit, each of which takes about 0.75.
SHOWN_TIME = 4.0


class LorenzEvaluation(BaseModel):
    """What evaluation runs on: orbits of their own, the same in every replicate and every study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    orbits: int = Field(32, ge=1, le=10_000, strict=True, description="number of orbits")
    steps: int = Field(100, ge=1, le=100_000, strict=True, description="steps of each orbit")


class Lorenz(OneStepAhead):
    """ẋ = 10(y − x), ẏ = x(28 − z) − y, ż = xy − (8/3)z: all three now, all three one step later.

    Runge–Kutta steps of length dt, every tenth of which the network sees. Orbits begin at random points and are seen
    after a burn-in. Coordinates are standardised by constants, so the error, summed over the three, is 3 for whoever
    answers the mean. Orbits are computed in double precision and then rounded.
    """

    name: ClassVar[str] = "lorenz"
    title: ClassVar[str] = "one step ahead on orbits of the Lorenz system"
    source: ClassVar[str] = "Lorenz, Deterministic nonperiodic flow, J. Atmos. Sci. 20, 1963"
    time_label: ClassVar[str] = "Time"
    value_label: ClassVar[str] = "x (standardised)"

    dt: float = Field(0.01, gt=0, le=0.02, description="length of a Runge-Kutta step")
    every: int = Field(10, ge=1, le=1000, strict=True, description="Runge-Kutta steps between two steps of a sequence")
    burn_in: int = Field(1000, ge=0, le=100_000, strict=True, description="Runge-Kutta steps before a sequence begins")
    eval: LorenzEvaluation = LorenzEvaluation()

    @classmethod
    def example(cls) -> Lorenz:
        """Three sequences of ten steps."""
        return cls(steps=10, sequences=3, burn_in=100, eval=LorenzEvaluation(orbits=4, steps=20))

    @property
    def outputs(self) -> int:
        """x, y, z."""
        return 3

    @property
    def step_time(self) -> float:
        """Time between two steps of a sequence."""
        return self.dt * self.every

    @property
    def evaluation_steps(self) -> int:
        """eval.steps."""
        return self.eval.steps

    def drawn_phases(self, stream: Stream, first: int, epochs: int, dtype: DTypeLike) -> Array:
        """Starting points [S, B, 3], uniform in a box, in double precision."""
        drawn = stream.uniform_steps(first, epochs, (self.sequences, 3), 0.0, 1.0, "float64")
        return _in_the_box(drawn)

    def evaluation_phases(self, dtype: DTypeLike) -> Array:
        """Starting points [B, 3] from a stream that belongs to no replicate."""
        return _in_the_box(Stream(0, 0, "lorenz/evaluation").uniform(0, (self.eval.orbits, 3), 0.0, 1.0, "float64"))

    def signals(self, phases: Array, steps: int, dtype: DTypeLike) -> Array:
        """Orbits, standardised and rounded to the dtype."""
        epochs, sequences, _ = phases.shape
        orbits = np.empty((steps + 1, 3, epochs * sequences))
        starts = np.ascontiguousarray(phases.reshape(-1, 3).T)
        lorenz_orbits(starts, self.dt, self.burn_in, self.every, orbits)
        standard = (orbits - np.array(CENTRE)[:, np.newaxis]) / np.array(SPREAD)[:, np.newaxis]
        by_epoch = standard.reshape(steps + 1, 3, epochs, sequences).transpose(2, 0, 3, 1)
        return np.ascontiguousarray(by_epoch, dtype)

    def shown(self, dtype: DTypeLike) -> tuple[Array, int, int]:
        """One orbit for about ten turns, half of them with true input."""
        given = max(1, round(SHOWN_TIME / self.step_time))
        return self.evaluation_phases(dtype)[:1], 2 * given, given


def _in_the_box(drawn: Array) -> Array:
    """Points [..., 3] of the box from numbers in [0, 1)."""
    return np.asarray(np.array(LOWEST) + (np.array(HIGHEST) - np.array(LOWEST)) * drawn)
