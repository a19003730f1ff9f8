"""JAX's part: the trainings of the sine study, each one compiled program over all epochs of many replicates.

A user of JAX would scan over epochs and steps and map over replicates, so that is what is timed: seconds per training
are those of the program over the number of replicates. Every replicate starts from the same weights with phases of its
own; the first one has those of kdrun's first replicate.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from contestants.protocol import Reply, serve, timed
from jax import lax

STEPS, DT = 50, 0.1
LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
CLIP, SCALE_FLOOR = 5.0, 1e-6
CHECKED = 25

Tree = Any


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def ternary(w: jax.Array, scale: jax.Array, beta: jax.Array, gradient: str) -> jax.Array:
    """Effective weights of `w` [fan_in, fan_out] with one scale per column."""
    return scale * codes_of(w, scale)


def codes_of(w: jax.Array, scale: jax.Array) -> jax.Array:
    """−1, 0 or 1 for every weight; ties to even."""
    return jnp.clip(jnp.round(w / scale), -1.0, 1.0)


def ternary_forward(w: jax.Array, scale: jax.Array, beta: jax.Array, gradient: str) -> tuple[jax.Array, Tree]:
    """Effective weights, and what the backward pass needs."""
    codes = codes_of(w, scale)
    return scale * codes, (w, scale, beta, codes)


def ternary_backward(gradient: str, saved: Tree, dw_eff: jax.Array) -> Tree:
    """Gradients of weights (through the mask of the level `gradient`) and scales (with the codes held)."""
    w, scale, beta, codes = saved
    dscale = jnp.sum(dw_eff * codes, axis=0)
    if gradient == "smoothstep":
        t = jnp.clip((jnp.abs(w) / scale - 0.5) * beta + 0.5, 0.0, 1.0)
        dw_eff = dw_eff * (6.0 * t * (1.0 - t) * beta)
    return dw_eff, dscale, jnp.zeros_like(beta)


ternary.defvjp(ternary_forward, ternary_backward)


def run_network(weights: Tree, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Hidden states [T, B, H] and predictions [T, B, 1] for inputs [T, B, 1]."""
    hidden = weights["tau"].shape[0]
    decay = jnp.exp(-DT / (jnp.abs(weights["tau"]) + 1e-6))
    from_input = x * weights["w"][:1] + weights["b"]
    recurrent = weights["w"][1:]

    def step(h: jax.Array, given: jax.Array) -> tuple[jax.Array, jax.Array]:
        sums = given + h @ recurrent
        gate, cand = jax.nn.sigmoid(sums[:, :hidden]), jnp.tanh(sums[:, hidden:])
        h = (1.0 - gate) * decay * h + gate * cand
        return h, h

    _, states = lax.scan(step, jnp.zeros((x.shape[1], hidden), x.dtype), from_input)
    return states, states @ weights["w_out"] + weights["b_out"]


def loss(parameters: Tree, teacher: Tree, phases: jax.Array, progress: jax.Array, training: Tree) -> jax.Array:
    """The loss of one epoch: phases [B] in radians, progress from 0 to 1."""
    signal = jnp.sin(jnp.arange(STEPS + 1)[:, None] * DT + phases)[..., None]
    x, target = signal[:-1], signal[1:]
    weights = parameters
    if training["kind"] == "student":
        beta = 1.0 + 19.0 * progress
        quantized = {
            name: ternary(parameters[name], parameters[f"scale.{name}"], beta, training["gradient"])
            for name in ("w", "w_out")
        }
        weights = {**parameters, **quantized}
    states, prediction = run_network(weights, x)
    supervised = 0.5 * jnp.mean((prediction - target) ** 2)
    if training["distillation"] != "trajectory":
        return supervised
    share = 0.3 + 0.5 * progress
    followed, _ = run_network(teacher, x)
    return (1.0 - share) * supervised + share * 0.5 * jnp.mean((states - lax.stop_gradient(followed)) ** 2)


def train(parameters: Tree, teacher: Tree, phases: jax.Array, training: Tree) -> tuple[Tree, jax.Array]:
    """As many epochs as there are rows in phases [epochs, B]. Returns trained parameters, and the loss by epoch."""

    def epoch(carry: Tree, given: Tree) -> tuple[Tree, jax.Array]:
        parameters, mean, square = carry
        index, phases = given
        value, gradient = jax.value_and_grad(loss)(parameters, teacher, phases, index / training["epochs"], training)
        parameters, mean, square = adam(parameters, clipped(gradient), mean, square, index + 1.0)
        parameters = {
            name: jnp.maximum(array, SCALE_FLOOR) if name.startswith("scale.") else array
            for name, array in parameters.items()
        }
        return (parameters, mean, square), value

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    index = jnp.arange(phases.shape[0], dtype=jnp.float32)
    (parameters, _, _), losses = lax.scan(epoch, (parameters, zeros, zeros), (index, phases))
    return parameters, losses


def clipped(gradient: Tree) -> Tree:
    """The gradient at a global norm of at most `CLIP`."""
    norm = jnp.sqrt(sum(jnp.sum(part * part) for part in jax.tree.leaves(gradient)))
    factor = jnp.where(norm > CLIP, CLIP / norm, 1.0)
    return jax.tree.map(lambda part: part * factor, gradient)


def adam(parameters: Tree, gradient: Tree, mean: Tree, square: Tree, count: jax.Array) -> tuple[Tree, Tree, Tree]:
    """One step of Adam, the `count`-th."""
    mean = jax.tree.map(lambda m, g: BETA1 * m + (1.0 - BETA1) * g, mean, gradient)
    square = jax.tree.map(lambda v, g: BETA2 * v + (1.0 - BETA2) * g * g, square, gradient)
    bias1, bias2 = 1.0 - BETA1**count, 1.0 - BETA2**count
    parameters = jax.tree.map(
        lambda p, m, v: p - LEARNING_RATE * (m / bias1) / (jnp.sqrt(v / bias2) + EPSILON), parameters, mean, square
    )
    return parameters, mean, square


class Program:
    """A training compiled for so many epochs, with its arguments: a leading axis of replicates on each."""

    def __init__(self, training: Tree, arrays: Tree, epochs: int) -> None:
        self.epochs, self.whole = epochs, training["epochs"]
        phases = jnp.asarray(arrays[f"{training['kind']}.phases"][:, :epochs])
        self.replicates = phases.shape[0]
        start = named(arrays, f"{training['kind']}.{training['hidden']}.")
        teacher = named(arrays, f"student.{training['hidden']}.")
        if training["kind"] == "student":
            start |= {f"scale.{name}": np.maximum(np.abs(start[name]).mean(0), SCALE_FLOOR) for name in ("w", "w_out")}
        self.arguments = (self._repeated(start), self._repeated(teacher), phases)
        mapped = jax.jit(jax.vmap(partial(train, training=training)))
        self.compilation = timed(lambda: setattr(self, "compiled", mapped.lower(*self.arguments).compile()))["seconds"]

    def _repeated(self, arrays: Tree) -> Tree:
        return {name: jnp.asarray(np.repeat(array[None], self.replicates, axis=0)) for name, array in arrays.items()}

    def run(self) -> jax.Array:
        """Losses [R, epochs]."""
        return jax.block_until_ready(self.compiled(*self.arguments))[1]

    def seconds(self) -> Reply:
        """Wall time of one training of the whole number of epochs."""
        return timed(self.run, self.whole / self.epochs / self.replicates)


def named(arrays: Tree, prefix: str) -> Tree:
    """The arrays whose name begins so, by the rest of their name."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


students: dict[int, Program] = {}
programs: list[Program] = []


def start(place: str, trainings: list[Tree], student_epochs: int, study_share: float) -> Reply:
    """Compile every training for `study_share` of its epochs, and the students compared for `student_epochs`.

    Replies with the losses of the first epochs of each training, and the seconds that compilation took.
    """
    arrays = dict(np.load(place))
    losses = {}
    for training in trainings:
        program = Program(training, arrays, max(CHECKED, round(training["epochs"] * study_share)))
        programs.append(program)
        losses[training["title"]] = np.asarray(program.run()[0, :CHECKED], float).tolist()
        if (training["gradient"], training["distillation"]) == ("ste", "none"):
            students[training["hidden"]] = Program(training, arrays, student_epochs)
    return {
        "losses": losses,
        "student_compilation": {hidden: program.compilation for hidden, program in students.items()},
        "study_compilation": sum(program.compilation for program in programs),
        "version": jax.__version__,
    }


def time_student(hidden: int) -> Reply:
    """Wall time of one student run."""
    return students[hidden].seconds()


def time_study() -> Reply:
    """Wall time of the trainings of one replicate: no comparators and no evaluation."""
    parts = [program.seconds() for program in programs]
    return {"seconds": sum(part["seconds"] for part in parts), "share": min(part["share"] for part in parts)}


if __name__ == "__main__":
    serve({"start": start, "student": time_student, "study": time_study})
