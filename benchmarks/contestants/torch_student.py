"""PyTorch's part: the student run of the sine study, eager or compiled, one student or many at once.

Parameters have a leading axis of replicates, so that many students share the cost of a call; seconds are those of all
students over their number. Too slow to be run in full: a few epochs are timed and scaled. Every replicate starts from
the same weights with phases of its own; the first one has those of kdrun's first replicate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from contestants.protocol import Reply, serve, timed

STEPS, DT = 50, 0.1
CLIP, SCALE_FLOOR = 5.0, 1e-6
CHECKED = 25
TOGETHER = 5  # steps in one compiled graph: all 50 take minutes to compile, one by one they pay for 50 calls

Tensors = dict[str, torch.Tensor]


def ternary(w: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Effective weights of w [R, fan_in, fan_out], scale [R, 1, fan_out]; the gradient by w passes straight through."""
    codes = (w.detach() / scale.detach()).round().clamp(-1.0, 1.0)
    return scale * codes + (w - w.detach())


Cell = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def some_steps(from_input: torch.Tensor, h: torch.Tensor, recurrent: torch.Tensor, decay: torch.Tensor) -> torch.Tensor:
    """States [T, R, B, H] after h [R, B, H], for what comes from the inputs of those steps [T, R, B, 2H]."""
    states = []
    for given in from_input.unbind(0):
        gate, cand = torch.baddbmm(given, h, recurrent).chunk(2, dim=-1)
        gate = torch.sigmoid(gate)
        h = (1.0 - gate) * decay * h + gate * torch.tanh(cand)
        states.append(h)
    return torch.stack(states)


def forward_loss(cell: Cell, parameters: Tensors, phases: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Loss of each replicate [R] for phases [R, B] in radians, at times [T + 1]."""
    signal = torch.sin(times[:, None, None] + phases)[..., None]
    x, target = signal[:-1], signal[1:]
    w = ternary(parameters["w"], parameters["scale.w"])
    w_out = ternary(parameters["w_out"], parameters["scale.w_out"])
    decay = torch.exp(-DT / (parameters["tau"].abs() + 1e-6))
    from_input = x * w[:, :1] + parameters["b"]
    states = [torch.zeros(1, x.shape[1], x.shape[2], decay.shape[-1])]
    for given in from_input.split(TOGETHER):
        states.append(cell(given, states[-1][-1], w[:, 1:], decay))
    prediction = torch.cat(states[1:]) @ w_out + parameters["b_out"]
    return 0.5 * ((prediction - target) ** 2).mean(dim=(0, 2, 3))


class Students:
    """Students in training: parameters with a leading axis of replicates, and a fused Adam."""

    def __init__(self, arrays: dict[str, Any], hidden: int, replicates: int, compiled: bool) -> None:
        self.start = {
            name: torch.from_numpy(np.repeat(array[None], replicates, axis=0))
            for name, array in student_arrays(arrays, hidden).items()
        }
        self.phases = torch.from_numpy(arrays["student.phases"][:replicates].swapaxes(0, 1).copy())
        self.times = torch.arange(STEPS + 1) * DT
        self.cell: Cell = torch.compile(some_steps, fullgraph=True, dynamic=False) if compiled else some_steps
        self.reset()

    def reset(self) -> None:
        """Start again."""
        self.parameters = {name: tensor.clone().requires_grad_() for name, tensor in self.start.items()}
        self.all = list(self.parameters.values())
        self.scales = [tensor for name, tensor in self.parameters.items() if name.startswith("scale.")]
        self.optimizer = torch.optim.Adam(self.all, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, fused=True)

    def epoch(self, index: int) -> torch.Tensor:
        """One step of every replicate. Returns their losses [R]."""
        losses = forward_loss(self.cell, self.parameters, self.phases[index], self.times)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.clip()
        self.optimizer.step()
        with torch.no_grad():
            torch._foreach_clamp_min_(self.scales, SCALE_FLOOR)
        return losses.detach()

    def clip(self) -> None:
        """Scale the gradients of each replicate to a global norm of at most `CLIP`."""
        if len(self.phases[0]) == 1:
            torch.nn.utils.clip_grad_norm_(self.all, CLIP, foreach=True)
            return
        gradients = [parameter.grad for parameter in self.all]
        squares = torch.stack([(gradient * gradient).flatten(1).sum(1) for gradient in gradients])
        factor = (CLIP / squares.sum(0).sqrt()).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor.reshape(-1, *[1] * (gradient.dim() - 1)))

    def run(self, epochs: int) -> torch.Tensor:
        """Losses [epochs, R]."""
        return torch.stack([self.epoch(index) for index in range(epochs)])

    def seconds(self, epochs: int) -> Reply:
        """Wall time of one student of the whole number of epochs."""
        whole, replicates = self.phases.shape[:2]
        return timed(lambda: self.run(epochs), whole / epochs / replicates)


def student_arrays(arrays: dict[str, Any], hidden: int) -> dict[str, Any]:
    """What a student starts from, in shapes that broadcast over sequences."""
    prefix = f"student.{hidden}."
    found = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    scales = {f"scale.{name}": np.maximum(np.abs(found[name]).mean(0), SCALE_FLOOR) for name in ("w", "w_out")}
    rows = {name: found[name][None] for name in ("b", "tau", "b_out")}
    return found | rows | {name: scale[None] for name, scale in scales.items()}


students: dict[tuple[int, int, bool], Students] = {}


def start(place: str, hidden: int, replicates: int, compiled: bool) -> Reply:
    """Make students. Replies with their losses of the first epochs, and the seconds that compilation took."""
    torch.set_num_threads(1)
    made = Students(dict(np.load(place)), hidden, replicates, compiled)
    compilation = timed(lambda: made.run(1))["seconds"]
    made.reset()
    losses = made.run(CHECKED)[:, 0].double().tolist()
    students[hidden, replicates, compiled] = made
    return {"losses": losses, "compilation": compilation, "version": torch.__version__}


def time_student(hidden: int, replicates: int, compiled: bool, epochs: int) -> Reply:
    """Wall time of one student run."""
    return students[hidden, replicates, compiled].seconds(epochs)


if __name__ == "__main__":
    serve({"start": start, "student": time_student})
