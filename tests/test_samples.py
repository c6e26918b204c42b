"""Representative samples: drawn in the data's order, checked one by one, and stored as plain arrays."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from doit_tflm import samples
from doit_tflm.convert import matched
from doit_tflm.errors import UserError
from doit_tflm.keras_io import Input
from doit_tflm.samples import Samples, draw, read, serialise
from doit_tflm.script import Script
from doit_tflm.spec import ModelSpec

X = np.arange(24, dtype=np.float32).reshape(6, 4)
Y = np.zeros(6)


def drawn(dataset: Callable[[str], Any], max_samples: int = 1000) -> tuple[Samples, list[str]]:
    """Draw from a spec's dataset."""
    script = Script("models/a.py", ModelSpec(dataset=dataset), ModuleType("a"))
    return draw(script, "generate", max_samples)


def of(data: Any, max_samples: int = 1000) -> dict[str, np.ndarray]:
    """Return what is drawn of data that is the same for each subset."""
    return drawn(lambda _: data, max_samples)[0].arrays


def generated(*elements: Any, dataset: Callable[[str], Any] | None = None) -> tuple[Samples, list[str]]:
    """Draw from a generator function that yields these elements."""
    spec = ModelSpec(dataset=dataset, tflite_converter={"representative_dataset": lambda: iter(elements)})
    return draw(Script("models/a.py", spec, ModuleType("a")), "function", None)


# Drawing from arrays


@pytest.mark.parametrize("data", [X, (X, Y), (X, Y, Y), (X,)], ids=["x", "(x, y)", "(x, y, weights)", "(x,)"])
def test_arrays_are_taken_in_their_order_and_without_labels(data: Any) -> None:
    assert list(of(data)) == ["0"]
    np.testing.assert_array_equal(of(data)["0"], X)


@pytest.mark.parametrize("count", [1, 5, 6, 7])
def test_the_first_samples_are_taken_up_to_the_limit(count: int) -> None:
    np.testing.assert_array_equal(of((X, Y), count)["0"], X[:count])


def test_several_inputs_by_name_keep_their_names() -> None:
    found = of(({"image": X, "speed": Y}, Y))
    assert list(found) == ["image", "speed"]
    assert found["speed"].shape == (6,)


def test_several_inputs_in_a_list_are_numbered() -> None:
    assert {key: array.shape for key, array in of([X, Y[:, None]]).items()} == {"0": (6, 4), "1": (6, 1)}
    assert list(of(([X, Y], Y))) == ["0", "1"]


def test_more_than_ten_inputs_stay_in_their_order() -> None:
    found = of([X + number for number in range(12)])
    assert [int(array[0, 0]) for array in found.values()] == list(range(12))


def test_doubles_become_floats_and_integers_stay() -> None:
    assert of(X.astype(np.float64))["0"].dtype == np.float32
    assert of(X.astype(np.uint8))["0"].dtype == np.uint8
    assert of(X.tolist() and [X.astype(np.int64)])["0"].dtype == np.int64


def test_the_validation_data_are_preferred() -> None:
    subsets = {"validation": (X, Y), "training": (X + 100, Y)}
    np.testing.assert_array_equal(drawn(subsets.get)[0].arrays["0"], X)


def test_the_training_data_are_taken_where_there_are_no_other() -> None:
    asked = []

    def load(subset: str) -> Any:
        asked.append(subset)
        return (X, Y) if subset == "training" else None

    np.testing.assert_array_equal(drawn(load)[0].arrays["0"], X)
    assert asked[:2] == ["validation", "training"]
    assert "evaluation" not in asked


def test_a_dataset_without_either_is_an_error() -> None:
    with pytest.raises(UserError, match=r"models/a.py: dataset returns no validation and no training data"):
        drawn(lambda _: None)


def test_the_random_numbers_of_a_dataset_are_those_of_the_seed() -> None:
    def load(_: str) -> Any:
        return np.random.rand(4, 2)

    np.testing.assert_array_equal(drawn(load)[0].arrays["0"], drawn(load)[0].arrays["0"])


def test_no_samples_are_drawn_for_a_float_model() -> None:
    script = Script("models/a.py", ModelSpec(), ModuleType("a"))
    assert draw(script, "none", None) == (Samples("none", {}), [])
    assert len(Samples("none", {})) == 0
    assert len(Samples("generate", {"0": X})) == 6


# Drawing from a generator function


@pytest.mark.parametrize("element", [[X[:1], Y[:1]], (X[:1], Y[:1])], ids=["list", "tuple"])
def test_a_generator_may_yield_lists_and_tuples(element: Any) -> None:
    found = generated(element, element)[0]
    assert found.source == "function"
    assert {key: array.shape for key, array in found.arrays.items()} == {"0": (2, 4), "1": (2,)}


def test_a_generator_may_yield_dicts_and_bare_arrays() -> None:
    assert list(generated({"image": X[:1]})[0].arrays) == ["image"]
    np.testing.assert_array_equal(generated(X[:1], X[1:2])[0].arrays["0"], X[:2])


def test_batches_of_a_generator_are_taken_apart() -> None:
    np.testing.assert_array_equal(generated([X[:4]], [X[4:]])[0].arrays["0"], X)


def test_a_generator_is_drained_to_its_end() -> None:
    ended = []

    def generate() -> Iterator[list[np.ndarray]]:
        for row in X:
            yield [row[None]]
        ended.append(True)

    settings = {"representative_dataset": generate, "representative_dataset_max_samples": 2}
    script = Script("models/a.py", ModelSpec(tflite_converter=settings), ModuleType("a"))
    assert len(draw(script, "function", None)[0]) == 6
    assert ended == [True]


def test_a_generator_s_types_are_left_as_they_are() -> None:
    assert generated([X[:1].astype(np.float64)])[0].arrays["0"].dtype == np.float64


def test_a_generator_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "_ENDLESS", 50)
    with pytest.raises(UserError, match="has yielded 50 samples and goes on; let the generator end"):
        generated(*([X[:1]] * 51))
    assert len(generated(*([X[:1]] * 50))[0]) == 50


def test_a_generator_whose_inputs_differ_in_number_is_an_error() -> None:
    with pytest.raises(UserError, match="the inputs of sample 1 differ in their number of samples"):
        generated([X[:1], Y[:1]], [X[:2], Y[:1]])


# Errors


def bad(value: float, *places: int) -> np.ndarray:
    array = np.ones((1000, 4), np.float32)
    array[list(places), 2] = value
    return array


ERRORS = {
    "no samples": (X[:0], r'dataset\("validation"\) gives no samples; give it data'),
    "no inputs": ([], "gives no samples"),
    "no named inputs": (({}, Y), "gives no samples"),
    "all NaN": (bad(np.nan, *range(1000)), r"sample 0 of input 0 is not finite \(NaN or infinity in 1000 of 1000"),
    "one NaN in a thousand": (
        bad(np.nan, 567),
        r"sample 567 of input 0 is not finite \(.* in 1 of 1000 samples\)",
    ),
    "an infinity": (bad(-np.inf, 3, 5), r"sample 3 of input 0 is not finite \(NaN or infinity in 2 of 1000"),
    "a NaN of a named input": ({"a": X, "b": bad(np.nan, 1)[:6]}, "sample 1 of input b is not finite"),
    "text": (np.array(["a", "b"]), r"input 0 has dtype <U1; give numbers"),
    "objects": (np.array([{}, None]), r"input 0 has dtype object; give numbers"),
    "samples of several sizes": (
        np.array([X[0], X[1, :3]], dtype=object),
        r"sample 1 of input 0 is float32 \(3,\), but sample 0 is float32 \(4,\)",
    ),
    "complex numbers": (np.array([1j]), r"input 0 has dtype complex128; give numbers"),
    "a number": (np.float32(3), r"returns a float32; return \(x, y\)"),
    "numbers for samples": ([1.0, 2.0], "an input has no batch dimension; give arrays of shape"),
    "inputs of other lengths": ([X, Y[:3]], "the inputs differ in their number of samples"),
    "a path": ("data.csv", r'dataset\("validation"\) returns a str; return \(x, y\)'),
    "a generator": (iter([X]), r"returns a list_iterator; return \(x, y\)"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_samples_that_cannot_calibrate_are_an_error(kind: str) -> None:
    data, message = ERRORS[kind]
    with pytest.raises(UserError, match=message) as caught:
        of(data)
    assert caught.value.where == "models/a.py"
    assert caught.value.fix


UNLIKE = {
    "of another shape": ([X[1:2, :3]], r"sample 1 of input 0 is float32 \(3,\), but sample 0 is float32 \(4,\)"),
    "of another type": ([X[1:2].astype(np.float64)], r"sample 1 of input 0 is float64 \(4,\), but sample 0 is f"),
    "with more inputs": ([X[1:2], X[1:2]], r"sample 1 has inputs \['0', '1'\], but sample 0 has \['0'\]"),
    "with other names": ({"a": X[1:2]}, r"sample 1 has inputs \['a'\], but sample 0 has \['0'\]"),
    "that is no number": ([np.array(["a"])], r"sample 1 of input 0 is <U1 \(\), but sample 0 is float32 \(4,\)"),
    "that is not finite": ([X[1:2] * np.nan], "sample 1 of input 0 is not finite"),
}


@pytest.mark.parametrize("kind", UNLIKE)
def test_a_sample_unlike_the_first_is_an_error_with_its_number(kind: str) -> None:
    element, message = UNLIKE[kind]
    with pytest.raises(UserError, match=f"models/a.py: representative_dataset: {message}"):
        generated([X[:1]], element, [X[2:3]])


@pytest.mark.parametrize("elements", [(), ([],), ({},), ([X[:0]],)])
def test_a_generator_that_gives_nothing_is_an_error(elements: tuple[Any, ...]) -> None:
    with pytest.raises(UserError, match="representative_dataset gives no samples"):
        generated(*elements)


def test_an_error_of_the_user_s_own_code_says_what_was_asked_of_it() -> None:
    with pytest.raises(UserError, match=r'dataset\("validation"\) raised ZeroDivisionError: division by zero'):
        drawn(lambda _: 1 / 0)
    settings = {"representative_dataset": lambda: (1 / 0 for _ in range(3))}
    script = Script("models/a.py", ModelSpec(tflite_converter=settings), ModuleType("a"))
    with pytest.raises(UserError, match="representative_dataset raised ZeroDivisionError"):
        draw(script, "function", None)


# Warnings


def test_good_samples_cause_no_warning() -> None:
    assert drawn(lambda _: (X, Y))[1] == []
    assert generated([X[:3]], dataset=lambda _: (X, Y))[1] == []


def test_samples_that_are_all_the_same_cause_a_warning() -> None:
    notes = drawn(lambda _: (np.full((6, 4), 0.5, np.float32), Y))[1]
    assert notes == ['dataset("validation"): input 0 is 0.5 in every sample: the ranges will be too narrow']


@pytest.mark.parametrize("factor", [1 / 255, 255])
def test_a_generator_on_another_scale_than_the_training_data_causes_a_warning(factor: float) -> None:
    notes = generated([X * np.float32(factor)], dataset=lambda _: (X, Y))[1]
    assert len(notes) == 1
    assert "but the training data 23: is it normalised in the same way?" in notes[0]


def test_a_generator_on_nearly_the_same_scale_causes_no_warning() -> None:
    assert generated([X * np.float32(3)], dataset=lambda _: (X, Y))[1] == []


def test_integers_and_booleans_are_compared_as_well() -> None:
    assert drawn(lambda _: X.astype(np.uint8))[1] == []
    assert drawn(lambda _: X > 3)[1] == []


# Storing

STORABLE = arrays_of.arrays(
    st.sampled_from(["float32", "float64", "float16", "int8", "uint8", "int64", "bool"]),
    arrays_of.array_shapes(max_dims=4, max_side=4),
)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5), STORABLE, max_size=3)
)
def test_what_is_stored_is_read_back(tmp_path_factory: pytest.TempPathFactory, arrays: dict) -> None:
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    path.write_bytes(serialise(Samples("function", arrays)))
    found = read(path)
    assert found.source == "function"
    assert list(found.arrays) == list(arrays)
    for key, array in arrays.items():
        assert found.arrays[key].dtype == array.dtype
        np.testing.assert_array_equal(found.arrays[key], array)


def test_equal_samples_are_stored_as_equal_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = serialise(Samples("generate", {"a": X, "b": Y}))
    monkeypatch.setattr("time.time", lambda: 2e9)
    turned = np.asfortranarray(X)
    assert serialise(Samples("generate", {"a": turned.copy(order="F"), "b": Y[::1]})) == first
    assert serialise(Samples("generate", {"a": X, "b": Y + 1})) != first
    assert serialise(Samples("function", {"a": X, "b": Y})) != first


def test_numpy_reads_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    path.write_bytes(serialise(Samples("generate", {"image": X, "1": Y})))
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["image"], X)
        np.testing.assert_array_equal(stored["1"], Y)
    assert zipfile.ZipFile(io.BytesIO(path.read_bytes())).testzip() is None


# Matching with a model's inputs

ONE = (Input("x", (4,), "float32"),)
TWO = (Input("image", (4,), "float32"), Input("speed", (), "float32"))


def test_one_input_is_the_model_s_whatever_it_is_called() -> None:
    for key in ("0", "x", "anything"):
        assert matched(Samples("generate", {key: X}), ONE)[0] is X


def test_inputs_by_name_are_put_into_the_model_s_order() -> None:
    speed = Y.astype(np.float32)
    found = matched(Samples("generate", {"speed": speed, "image": X}), TWO)
    assert found[0] is X
    assert found[1] is speed


def test_inputs_by_position_are_taken_as_they_come() -> None:
    found = matched(Samples("function", {"0": X, "1": Y.astype(np.float32)}), TWO)
    assert [array.shape for array in found] == [(6, 4), (6,)]


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int64", "bool"])
def test_generated_integers_become_the_model_s_floats(kind: str) -> None:
    (found,) = matched(Samples("generate", {"0": X.astype(kind)}), ONE)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X.astype(kind))


MISFITS = {
    "too few inputs": ({"0": X}, TWO, r"the samples have 1 inputs \(0\), but the model has 2 \(image, speed\)"),
    "too many inputs": ({"0": X, "1": X}, ONE, r"the samples have 2 inputs \(0, 1\), but the model has 1 \(x\)"),
    "other names": (
        {"image": X, "sped": Y},
        TWO,
        "the samples name the inputs image, sped, but the model image, speed; use the model's names",
    ),
    "another shape": ({"0": X[:, :3]}, ONE, r"sample 0 of input x has shape \(3,\), but the model takes \(4,\)"),
    "another rank": ({"0": X[:, None]}, ONE, r"has shape \(1, 4\), but the model takes \(4,\)"),
    "doubles": ({"0": X.astype(float)}, ONE, "sample 0 of input x is float64, but the model takes float32; yield"),
    "integers of a generator": (
        {"0": X.astype("uint8")},
        ONE,
        "is uint8, but the model takes float32; yield it as",
    ),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_samples_that_the_model_does_not_take_are_an_error(kind: str) -> None:
    arrays, inputs, message = MISFITS[kind]
    with pytest.raises(UserError, match=message):
        matched(Samples("function", arrays), inputs)


def test_floats_for_a_model_of_integers_are_an_error_also_when_generated() -> None:
    with pytest.raises(UserError, match="is float32, but the model takes int32"):
        matched(Samples("generate", {"0": X}), (Input("x", (4,), "int32"),))


def test_a_missing_batch_dimension_is_explained_to_who_wrote_a_generator() -> None:
    with pytest.raises(UserError, match=r"mend the shape, e\.g\. yield \[x\[numpy\.newaxis\]\]"):
        matched(Samples("function", {"0": X[0]}), ONE)


# tf.data


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 6, 100])
def test_a_tf_dataset_gives_the_same_samples_for_every_batch_size(batch: int) -> None:
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(batch)
    np.testing.assert_array_equal(of(data)["0"], X)
    np.testing.assert_array_equal(of(data, 5)["0"], X[:5])


@pytest.mark.slow
def test_a_tf_dataset_may_have_several_inputs_and_no_labels() -> None:
    import tensorflow as tf

    slices = tf.data.Dataset.from_tensor_slices
    assert list(of(slices(X).batch(2))) == ["0"]
    assert list(of(slices(({"image": X, "speed": Y}, Y)).batch(2))) == ["image", "speed"]
    assert list(of(slices(((X, Y), Y)).batch(2))) == ["0", "1"]


@pytest.mark.slow
def test_a_tf_dataset_without_batches_or_without_end_is_dealt_with() -> None:
    import tensorflow as tf

    endless = tf.data.Dataset.from_tensor_slices((X, Y)).repeat().batch(4)
    assert len(of(endless, 10)["0"]) == 10
    with pytest.raises(UserError, match="no batch dimension"):
        of(tf.data.Dataset.from_tensor_slices((Y, Y)))


@pytest.mark.slow
def test_a_generator_may_yield_tensors() -> None:
    import tensorflow as tf

    np.testing.assert_array_equal(generated([tf.constant(X[:1])], [tf.constant(X[1:2])])[0].arrays["0"], X[:2])
