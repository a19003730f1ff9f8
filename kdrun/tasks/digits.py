"""Handwritten digits: scikit-learn's 1,797 images of 8 × 8, as a whole or row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import DTypeLike
from pydantic import Field, model_validator

from kdrun.core.losses import mean_of
from kdrun.core.permutation import permutation
from kdrun.core.random import Stream
from kdrun.core.softmax import highest_class
from kdrun.factors.contract import Array, Batch, Context, Progress, Term
from kdrun.tasks.contract import Data, Evaluate, RunFailed, TrainingTask
from kdrun.tasks.losses import CrossEntropy

SIDE, CLASSES, IMAGES, BRIGHTEST = 8, 10, 1797, 16.0
# Images of each digit.
OF_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
CALIBRATION = 256
MISSING = "the task digits needs scikit-learn: pip install 'kdrun[data]'"


@cache
def _images() -> tuple[Array, Array]:
    """All images, float64 [N, 64] in 0 … 1, and their digits, int64 [N]."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise RunFailed(MISSING) from None
    found = load_digits()
    return found.data / BRIGHTEST, found.target.astype(np.int64)


class Digits(TrainingTask):
    """Which digit an image shows. Images are split for each replicate anew, every class in the same shares."""

    name: ClassVar[str] = "digits"
    title: ClassVar[str] = "handwritten digits of 8 × 8 pixels"
    source: ClassVar[str] = "scikit-learn's load_digits: the test set of Alpaydin and Kaynak, 1998 (UCI, CC BY 4.0)"
    responses: ClassVar[Mapping[str, str]] = {
        "train_loss": "loss of the last batch, before its update",
        "accuracy": "share of the test images that are recognised",
        "error_rate": "share of the test images that are not recognised; half an image where there is none",
        "cross_entropy": "mean of −log probability of the right digit over the test images",
        "final_temperature": "temperature of the soft targets at the last step; 1 where there is none",
    }
    errors: ClassVar[frozenset[str]] = frozenset({"train_loss", "error_rate", "cross_entropy"})
    ratios: ClassVar[tuple[str, ...]] = ()

    layout: Literal["flat", "rows"] = Field("flat", description="64 inputs at once, or 8 steps of 8 inputs")
    batch: int = Field(32, ge=1, le=IMAGES, strict=True, description="images of one training step")
    train_size: int | None = Field(
        None, ge=CLASSES, le=IMAGES, strict=True, description="images that students learn from; none: all for training"
    )
    test_share: float = Field(0.2, ge=0.05, le=0.9, description="part of the images that is for testing")
    validation_share: float = Field(0.1, ge=0.0, le=0.9, description="part that is left for choices during training")

    @classmethod
    def example(cls) -> Digits:
        """Three images of a step."""
        return cls(batch=3)

    def small(self) -> Digits:
        """Three images, shown as these are."""
        return Digits(batch=3, layout=self.layout)

    @model_validator(mode="after")
    def _some_to_train_on(self) -> Digits:
        # Shares are rounded for each digit by itself, so that not always the rarest has the fewest left.
        left = (images - _count(self.test_share, images) - _count(self.validation_share, images) for images in OF_CLASS)
        largest = CLASSES * min(left)
        if largest < CLASSES:
            raise ValueError("test_share and validation_share leave no image of some digit to train on")
        if self.train_size is not None and self.train_size > largest:
            raise ValueError(f"train_size is {self.train_size}, but the shares leave only {largest} for training")
        return self

    @property
    def inputs(self) -> int:
        """The pixels of an image, or of a row."""
        return SIDE * SIDE if self.layout == "flat" else SIDE

    @property
    def outputs(self) -> int:
        """One logit for each digit."""
        return CLASSES

    @property
    def has_time(self) -> bool:
        """Row by row."""
        return self.layout == "rows"

    @property
    def heads(self) -> Mapping[str, int]:
        """Logits."""
        return {"logits": CLASSES}

    def look(self, folder: Path) -> None:
        """Whether the images are there."""
        if find_spec("sklearn") is None:
            raise RunFailed(MISSING)

    def loss(self) -> Term:
        """Cross-entropy."""
        return CrossEntropy()

    def training_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """`train_size` of the training images, in an order that is new each time all were seen."""
        return _Shuffled(self, self._training_images(stream, self.train_size), stream("batches"), dtype)

    def teacher_data(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Data:
        """All training images."""
        return _Shuffled(self, self._training_images(stream, None), stream("batches"), dtype)

    def calibration_batch(self, stream: Callable[[str], Stream], dtype: DTypeLike) -> Batch:
        """The first training images of the students."""
        return self.batch_of(self._training_images(stream, self.train_size)[:CALIBRATION], dtype)

    def training_responses(self, last_loss: float) -> Mapping[str, float]:
        """The loss."""
        return {"train_loss": last_loss}

    def recorded_responses(self, recorded: Mapping[str, float], steps: int) -> Mapping[str, float]:
        """Where the temperature ended."""
        return {"final_temperature": recorded.get("temperature", 1.0)}

    def evaluate(self, forward: Evaluate, stream: Callable[[str], Stream], dtype: DTypeLike) -> Mapping[str, float]:
        """On the test images of the replicate."""
        batch = self.batch_of(self.part(stream, "test"), dtype)
        logits = forward(batch.inputs, frozenset({"logits"}))["logits"]
        context = Context({}, {}, Progress(0, 1), stream("evaluation"))
        value = CrossEntropy().evaluate({"logits": logits}, (), batch, context).value
        last = logits.reshape(-1, *logits.shape[-2:])[-1]
        classes = np.empty(len(last), np.int64)
        highest_class(last, classes)
        wrong = int((classes != batch.targets["label"].reshape(-1, len(last))[-1]).sum())
        return {
            "accuracy": 1.0 - wrong / len(last),
            "error_rate": max(wrong, 0.5) / len(last),
            "cross_entropy": mean_of(value),
        }

    def part(self, stream: Callable[[str], Stream], name: Literal["test", "validation", "train"]) -> Array:
        """Numbers of the images of one part, int64: class by class, the same in every role of a replicate."""
        return np.concatenate([self._of_class(stream, digit)[name] for digit in range(CLASSES)])

    def _of_class(self, stream: Callable[[str], Stream], digit: int) -> Mapping[str, Array]:
        """The images of one digit in a random order, cut into parts."""
        images = np.flatnonzero(_images()[1] == digit)
        shuffled = images[permutation(stream("task/split").child(str(digit)), 0, len(images))]
        test = _count(self.test_share, len(images))
        rest = test + _count(self.validation_share, len(images))
        return {"test": shuffled[:test], "validation": shuffled[test:rest], "train": shuffled[rest:]}

    def _training_images(self, stream: Callable[[str], Stream], size: int | None) -> Array:
        """Training images in a fixed random order; the first `size` of them hold as many of each digit as of any."""
        of_classes = [self._of_class(stream, digit)["train"] for digit in range(CLASSES)]
        longest = max(map(len, of_classes))
        turns = [found[place] for place in range(longest) for found in of_classes if place < len(found)]
        return np.array(turns[:size])

    def batch_of(self, images: Array, dtype: DTypeLike) -> Batch:
        """Images by their numbers [B]: inputs [B, 64], or [8, B, 8] with a mask that leaves the last step."""
        pixels, labels = _images()[0][images].astype(dtype), _images()[1][images]
        if self.layout == "flat":
            return Batch(pixels, {"label": labels}, ids=images)
        rows = np.ascontiguousarray(pixels.reshape(-1, SIDE, SIDE).transpose(1, 0, 2))
        mask = np.zeros(rows.shape[:2], dtype)
        mask[-1] = 1.0
        return Batch(rows, {"label": np.tile(labels, (SIDE, 1))}, mask, images)


def _count(share: float, images: int) -> int:
    """How many of the images of a digit make up a share."""
    return round(share * images)


class _Shuffled:
    """Batches of some images; once all were seen they come in another order, and what fills no batch is left out."""

    def __init__(self, task: Digits, images: Array, stream: Stream, dtype: Any) -> None:
        self._task, self._images, self._stream, self._dtype = task, images, stream, dtype
        self._size = min(task.batch, len(images))
        self._per_pass = len(images) // self._size
        self._pass, self._order = -1, images

    def batch(self, step: int) -> Batch:
        number, place = divmod(step, self._per_pass)
        if number != self._pass:
            self._pass, self._order = number, self._images[permutation(self._stream, number, len(self._images))]
        return self._task.batch_of(self._order[place * self._size : (place + 1) * self._size], self._dtype)
