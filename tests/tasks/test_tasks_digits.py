"""Handwritten digits: how they are split, shown and counted, and a study of them from the command line."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits

from kdrun.core.jit import JIT_DISABLED
from kdrun.engine.run import _Setting
from kdrun.records import Run
from kdrun.tasks import digits
from kdrun.tasks.contract import RunFailed
from kdrun.tasks.digits import CLASSES, OF_CLASS, Digits
from tests.cli.command import digest_of, kdrun
from tests.core.comparing import assert_bits
from tests.naive import softmax as naive

FOUND = load_digits()
PARTS = ("test", "validation", "train")
LAYOUTS = pytest.mark.parametrize("layout", ["flat", "rows"])


def streams(role="student", replicate=1, seed=5):
    """The random streams that a run of some role gets."""
    return _Setting(Run("x", "treatment", replicate, {"seed": seed, "task": {"name": "digits"}}, ()), role).stream


def ids_of(data, steps):
    """Numbers of the images of some steps, in their order."""
    return np.concatenate([data.batch(step).ids for step in steps])


# ------------------------------------------------------------------------------------------------ the split


def test_the_counts_of_digits_are_scikit_learns():
    """How many images there are of each digit is written down for checking shares; it is so."""
    assert tuple(np.bincount(FOUND.target)) == OF_CLASS


@pytest.mark.parametrize(("test", "validation"), [(0.2, 0.1), (0.5, 0.0), (0.05, 0.9)])
def test_every_digit_is_split_in_the_same_shares(test, validation):
    """Of each digit the shares of its images, rounded, are in each part."""
    task, stream = Digits(test_share=test, validation_share=validation), streams()
    parts = {name: Counter(FOUND.target[task.part(stream, name)].tolist()) for name in PARTS}
    for digit, count in enumerate(OF_CLASS):
        expected = [round(test * count), round(validation * count)]
        assert [parts[name][digit] for name in PARTS] == [*expected, count - sum(expected)]


def test_parts_are_disjoint_and_complete():
    """Every image is in one part, once."""
    task, stream = Digits(), streams()
    got = np.concatenate([task.part(stream, name) for name in PARTS])
    np.testing.assert_array_equal(np.sort(got), np.arange(1797))


@pytest.mark.parametrize("name", PARTS)
def test_all_roles_of_a_replicate_have_one_split(name):
    """Teacher, student and comparator agree on what is for testing, so that nobody trains on it."""
    expected = Digits().part(streams("student"), name)
    for role in ("teacher", "comparator"):
        np.testing.assert_array_equal(Digits().part(streams(role), name), expected)


@pytest.mark.parametrize("other", [streams(replicate=2), streams(seed=6)], ids=["replicate", "seed"])
def test_another_replicate_has_another_split(other):
    """Splits are drawn anew, and share only what chance gives: about a fifth of a fifth."""
    first, second = Digits().part(streams(), "test"), Digits().part(other, "test")
    assert 30 < len(np.intersect1d(first, second)) < 120


def test_the_split_does_not_depend_on_how_images_are_used():
    """Layout, batch and number of training images leave the test images alone: treatments are comparable."""
    expected = Digits().part(streams(), "test")
    other = Digits(layout="rows", batch=7, train_size=50).part(streams(), "test")
    np.testing.assert_array_equal(other, expected)


# ------------------------------------------------------------------------------------------------ training images


def test_fewer_training_images_are_the_first_of_more():
    """The first 100 are among the first 200: a factor of size adds images and exchanges none."""
    sets = []
    for size in (100, 200):
        task = Digits(train_size=size, batch=size)
        sets.append(set(ids_of(task.training_data(streams(), "float32"), [0]).tolist()))
    assert [len(found) for found in sets] == [100, 200]
    assert sets[0] < sets[1]


@pytest.mark.parametrize("size", [10, 100, 104, 1220])
def test_training_images_are_balanced(size):
    """As many of each digit as of any, but for the last round."""
    task = Digits(train_size=size, batch=size)
    got = Counter(FOUND.target[ids_of(task.training_data(streams(), "float32"), [0])].tolist())
    assert len(got) == CLASSES
    assert max(got.values()) - min(got.values()) <= (1 if size % CLASSES else 0)


def test_students_learn_from_training_images_alone():
    """No image that they see is one for testing or validation."""
    seen = set(ids_of(Digits().training_data(streams(), "float32"), range(120)).tolist())
    assert seen <= set(Digits().part(streams(), "train").tolist())
    assert len(seen) > 1200


def test_teachers_learn_from_all_training_images():
    """However few images students have, teachers have them all."""
    task = Digits(train_size=20, batch=1797)
    got = ids_of(task.teacher_data(streams("teacher"), "float32"), [0])
    np.testing.assert_array_equal(np.sort(got), np.sort(task.part(streams(), "train")))


@pytest.mark.parametrize(("size", "batch"), [(40, 8), (43, 10), (12, 12), (10, 1)])
def test_a_pass_shows_every_image_once(size, batch):
    """In a pass no image comes twice, all come that fill whole batches, and the next pass has another order."""
    data = Digits(train_size=size, batch=batch).training_data(streams(), "float32")
    steps = size // batch
    first, second = ids_of(data, range(steps)), ids_of(data, range(steps, 2 * steps))
    for found in (first, second):
        assert len(set(found.tolist())) == steps * batch
    assert first.tolist() != second.tolist()
    if size % batch == 0:
        assert set(first.tolist()) == set(second.tolist())


def test_what_fills_no_batch_is_not_the_same_each_time():
    """Three of 43 images are left out of a pass, others each time: in ten passes all 43 are seen."""
    data = Digits(train_size=43, batch=10).training_data(streams(), "float32")
    assert len(set(ids_of(data, range(40)).tolist())) == 43


def test_a_batch_is_never_larger_than_what_there_is():
    """With fewer images than a batch would hold, each step shows them all."""
    data = Digits(train_size=10, batch=32).training_data(streams(), "float32")
    for step in range(3):
        assert len(set(data.batch(step).ids.tolist())) == 10


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 3, 0, 5, 0]], ids=str)
def test_a_batch_is_the_same_in_any_order_of_steps(order):
    """A step's images depend on its number alone, across the borders of passes."""
    task = Digits(train_size=20, batch=7)
    data = task.training_data(streams(), "float32")
    for step in order:
        expected = task.training_data(streams(), "float32").batch(step)
        np.testing.assert_array_equal(data.batch(step).ids, expected.ids)
        assert_bits(data.batch(step).inputs, expected.inputs)


def test_roles_have_orders_of_their_own():
    """Teacher and student see their images in different orders."""
    task = Digits()
    first = [task.training_data(streams(role), "float32").batch(0).ids.tolist() for role in ("teacher", "student")]
    assert first[0] != first[1]


def test_searches_calibrate_on_training_images():
    """At most 256 of those that students learn from."""
    task = Digits(train_size=300)
    got = task.calibration_batch(streams("comparator"), "float32").ids
    assert len(set(got.tolist())) == 256
    assert set(got.tolist()) <= set(task.part(streams(), "train").tolist())


# ------------------------------------------------------------------------------------------------ images


def test_a_flat_image_is_scikit_learns(dtype):
    """64 pixels from 0 to 1, row after row, and the digit that is on it."""
    batch = Digits().batch_of(np.array([0, 7, 1796]), dtype)
    assert batch.inputs.dtype == dtype
    np.testing.assert_array_equal(batch.inputs, FOUND.data[[0, 7, 1796]] / 16)
    np.testing.assert_array_equal(batch.targets["label"], FOUND.target[[0, 7, 1796]])
    assert batch.mask is None
    assert batch.inputs.max() <= 1.0


def test_rows_are_the_flat_image_pixel_by_pixel(dtype):
    """Step t of image b shows pixels 8t … 8t+7."""
    images = np.array([3, 50, 1000, 9])
    flat, rows = Digits().batch_of(images, dtype).inputs, Digits(layout="rows").batch_of(images, dtype).inputs
    assert rows.shape == (8, 4, 8)
    assert rows.flags.c_contiguous
    for t in range(8):
        for b in range(4):
            assert_bits(rows[t, b], flat[b, 8 * t : 8 * t + 8])


def test_only_the_last_row_is_judged(dtype):
    """The mask is one on the last step and zero before; the label is there at every step."""
    batch = Digits(layout="rows").batch_of(np.array([3, 50, 1000]), dtype)
    np.testing.assert_array_equal(batch.mask, [[0, 0, 0]] * 7 + [[1, 1, 1]])
    assert batch.mask.dtype == dtype
    np.testing.assert_array_equal(batch.targets["label"], [FOUND.target[[3, 50, 1000]].tolist()] * 8)


@LAYOUTS
def test_a_task_says_what_its_batches_are(layout):
    """Width of inputs, heads and outputs are those of a batch and of ten digits."""
    task = Digits(layout=layout)
    assert task.inputs == task.batch_of(np.array([0]), "float32").inputs.shape[-1]
    assert (task.outputs, task.heads) == (10, {"logits": 10})


# ------------------------------------------------------------------------------------------------ evaluation


class Network:
    """Stands for one: gives logits that the test chose, and notes what it was shown."""

    def __init__(self, logits, layout):
        self.logits = logits if layout == "flat" else np.concatenate([np.full((7, *logits.shape), 9.0), logits[None]])
        self.shown = None

    def forward(self, inputs, want):
        """Logits of all test images."""
        assert want == {"logits"}
        assert inputs.shape[-2] == self.logits.shape[-2]
        self.shown = inputs
        return {"logits": self.logits}


@LAYOUTS
def test_evaluation_by_hand(layout):
    """Errors are counted and cross-entropy averaged over the test images, by their last step alone."""
    task, stream = Digits(layout=layout), streams()
    images = task.part(stream, "test")
    labels = FOUND.target[images]
    logits = np.random.default_rng(3).normal(size=(len(images), 10))
    logits[np.arange(len(images)), labels] += 1.0
    network = Network(logits, layout)
    got = task.evaluate(network.forward, stream, "float64")
    wrong = sum(int(np.argmax(row) != label) for row, label in zip(logits, labels, strict=True))
    assert 0 < wrong < len(images)
    assert set(got) == set(task.responses) - {"train_loss", "final_temperature"}
    assert got["accuracy"] == pytest.approx(1 - wrong / len(images), rel=1e-14)
    assert got["error_rate"] == pytest.approx(wrong / len(images), rel=1e-14)
    expected = naive.cross_entropy(logits[np.newaxis], labels[np.newaxis]).mean()
    assert got["cross_entropy"] == pytest.approx(expected, rel=1e-12)
    assert_bits(network.shown, task.batch_of(images, "float64").inputs)


@LAYOUTS
def test_no_error_counts_as_half_an_image(layout):
    """A network without an error has accuracy 1 and an error rate whose logarithm there is."""
    task, stream = Digits(layout=layout), streams()
    labels = FOUND.target[task.part(stream, "test")]
    got = task.evaluate(Network(5.0 * np.eye(10)[labels], layout).forward, stream, "float64")
    assert got["accuracy"] == 1.0
    assert got["error_rate"] == pytest.approx(0.5 / len(labels))


def test_evaluation_is_the_same_for_every_role():
    """Teacher and student are judged by the same images."""
    logits = np.random.default_rng(3).normal(size=(len(Digits().part(streams(), "test")), 10))
    got = [Digits().evaluate(Network(logits, "flat").forward, streams(role), "float64") for role in ("teacher", "x")]
    assert got[0] == got[1]


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"test_share": 0.9, "validation_share": 0.1}, "leave no image of some digit"),
        ({"test_share": 0.6, "validation_share": 0.6}, "leave no image of some digit"),
        ({"train_size": 1500}, "train_size is 1500, but the shares leave only 1220"),
        ({"train_size": 200, "test_share": 0.9, "validation_share": 0.0}, "leave only 170"),
        ({"train_size": 9}, "greater than or equal to 10"),
        ({"test_share": 0.0}, "greater than or equal to 0.05"),
        ({"batch": 0}, "greater than or equal to 1"),
        ({"layout": "columns"}, "'flat' or 'rows'"),
    ],
)
def test_impossible_shares_and_sizes_are_refused(wrong, text):
    """What no split could give is an error that says what is wrong."""
    with pytest.raises(ValidationError, match=text):
        Digits(**wrong)


def test_the_largest_size_is_that_of_the_digit_with_the_fewest_left():
    """Rounding may leave less of a frequent digit than of the rarest: 17 of 177 ones, 18 of 174."""
    shares = {"test_share": 0.45, "validation_share": 0.45}
    with pytest.raises(ValidationError, match="leave only 170"):
        Digits(train_size=180, **shares)
    task = Digits(train_size=170, batch=170, **shares)
    got = Counter(FOUND.target[ids_of(task.training_data(streams(), "float32"), [0])].tolist())
    assert got == dict.fromkeys(range(10), 17)


def test_shares_that_leave_nothing_of_a_frequent_digit_are_refused():
    """Shares of 0.096 and 0.899 leave one image of the rarest digit, and none of another."""
    with pytest.raises(ValidationError, match="leave no image of some digit"):
        Digits(test_share=0.096, validation_share=0.899)


def test_without_scikit_learn_a_run_says_what_is_missing(monkeypatch):
    """The text names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    digits._images.cache_clear()
    with pytest.raises(RunFailed, match=r"pip install 'kdrun\[data\]'"):
        Digits().part(streams(), "test")
    digits._images.cache_clear()


# ------------------------------------------------------------------------------------------------ a study

STUDY = """
schema: 1
study: digits
task: {name: digits, train_size: 40, batch: 20}
model: {cell: mlp, hidden: 6}
teacher: {epochs: 20}
student: {epochs: 20, temperature: {name: ctkd}}
factors:
  soft_targets: [none, forward_kl, js]
replicates: 1
responses:
  - {name: error_rate, scale: log10, better: lower}
"""
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}


def run_study(folder, text, *options, env=None):
    """`kdrun factorial` on a study in a folder."""
    path = folder / "study.yaml"
    path.write_text(text)
    return kdrun("factorial", path, "--results", folder / "out", "--workers", 1, *options, env=env)


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    """The results digest of the study, with kernels for the processor at hand."""
    done = run_study(tmp_path_factory.mktemp("digits"), STUDY)
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 done" in done.stdout
    return digest_of(done)


def test_a_study_of_one_replicate_runs(digest):
    """A teacher and three students are trained and reported by the command."""
    assert len(digest) == 64


@pytest.mark.skipif(JIT_DISABLED, reason="bits are promised for compiled kernels")
@pytest.mark.slow
def test_a_study_has_the_same_bits_on_another_processor(digest, tmp_path):
    """Kernels for the oldest processor give the same digest."""
    done = run_study(tmp_path, STUDY, env=GENERIC)
    assert done.returncode == 0, done.stderr
    assert digest_of(done) == digest


@pytest.mark.slow
def test_rows_run_on_a_network_that_knows_time(tmp_path):
    """The same study row by row, on a CfC, through the command."""
    text = STUDY.replace("name: digits,", "name: digits, layout: rows,").replace("cell: mlp", "cell: cfc")
    done = run_study(tmp_path, text)
    assert done.returncode == 0, done.stderr
    assert "4 runs: 4 done" in done.stdout


def test_a_study_with_impossible_shares_is_refused(tmp_path):
    """With the place in the file, and before anything is run."""
    done = run_study(tmp_path, STUDY.replace("train_size: 40", "train_size: 1500"))
    assert done.returncode == 2
    assert "study.yaml:4:7: task: train_size is 1500, but the shares leave only 1220 for training" in done.stderr
    assert not (tmp_path / "out").exists()
