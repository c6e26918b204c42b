"""Errors layer by layer: TensorFlow's own numbers, the layer that is really bad, and the float32 model."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from doit_tflm import keras_io, layer_errors, report, tflite
from doit_tflm.convert import TensorFlowConverter
from doit_tflm.errors import UserError
from doit_tflm.layer_errors import LayerError
from doit_tflm.samples import Samples

GRAPH = {"mode": "int8", "weights": "", "input_shape": None, "allow_custom_ops": False}
INT16X8 = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
HEALTHY = LayerError(
    op_name="CONV_2D",
    tensor_name="net/conv/Relu;net/conv/convolution",
    layer="conv",
    scale=0.5,
    zero_point=-28,
    num_elements=8,
    stddev=0.1,
    mean_error=0.0,
    max_abs_error=0.25,
    mean_squared_error=0.02,
    relative_error=0.01,
    clipped=0.0,
)


def poor(layer: str, relative_error: float = 0.5, steps: float = 0.2, **changes: Any) -> LayerError:
    """Return a layer with an error of so many steps."""
    mse = (steps * HEALTHY.scale) ** 2
    return replace(HEALTHY, layer=layer, relative_error=relative_error, mean_squared_error=mse, **changes)


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_the_range_is_that_of_the_256_integers() -> None:
    assert (HEALTHY.minimum, HEALTHY.maximum, HEALTHY.range) == (-50.0, 77.5, 127.5)


def test_an_error_of_rounding_is_0_289_steps() -> None:
    values = np.random.default_rng(0).uniform(0, 100, 100_000)
    error = replace(HEALTHY, scale=1.0, mean_squared_error=float(np.mean((np.round(values) - values) ** 2)))
    assert error.rmse_over_scale == pytest.approx(report.HEALTHY_RMSE_OVER_SCALE, rel=0.01)


def signal(*samples: list[list[float]], scale: float = 1.0) -> float:
    """Return the relative error of an output of so many channels that is rounded to multiples of `scale`."""
    tensor = tflite.Tensor(7, "x", (1, 2), "int8", 0, tflite.Quantization((scale,), (3,), 0), False, False, 0)
    found = layer_errors._Signal(tensor, 8)
    for sample in samples:
        real = np.array([sample], np.float32)
        found.add(real, (np.round(real / scale) + 3).astype(np.int8))
    return found.relative_error()


def test_the_relative_error_is_that_of_the_mean_channel() -> None:
    values = np.random.default_rng(1).normal(20, [5, 0.5, 2], (4, 10, 3))
    errors = np.round(values) - values
    wanted = np.sqrt((errors**2).mean((0, 1))) / values.std((0, 1))
    assert signal(*values.tolist()) == pytest.approx(wanted.mean(), rel=1e-4)
    assert 0.05 < wanted.mean() < 0.5


@pytest.mark.parametrize(
    ("samples", "error"),
    [
        ([[[0.2, 10.0]], [[-0.2, 20.0]]], 0.5),  # all of the first channel is lost, nothing of the second
        ([[[9.3, 10.0]], [[9.3, 20.0]]], 0.0),  # a constant channel holds nothing to lose
        ([[[0.0, 0.0]], [[0.0, 0.0]]], 0.0),
        ([[[2.4, 0.0]]], 0.4 / 2.4),  # nothing varies in one sample
        ([[[0.4, 0.4]]], 1.0),
    ],
)
def test_the_relative_error_is_the_part_of_the_signal_that_is_lost(
    samples: list[list[list[float]]], error: float
) -> None:
    assert signal(*samples) == pytest.approx(error, abs=1e-6)


def test_the_worst_layers_come_first() -> None:
    errors = [poor("a", 0.2), poor("b", 0.9), poor("c", 0.2, steps=3), poor("d", 0.01, steps=9)]
    assert [error.layer for error in report.worst(errors)] == ["b", "c", "a", "d"]
    assert [error.layer for error in report.worst(errors, 2)] == ["b", "c"]


def test_advice_for_a_good_model_is_one_line_with_the_worst_layer() -> None:
    (line,) = report.advice([HEALTHY, replace(HEALTHY, layer="second", relative_error=0.02)])
    assert line.startswith(
        "every layer is quantized well; the worst is second (CONV_2D): error 2.0% of the signal"
    )
    assert line.endswith(", rmse/scale 0.28, range -50..77.5")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (poor("x"), "bound or normalize it"),
        (poor("x", steps=2), "int8 weights are too coarse"),
        (poor("x", steps=2, op_name="LOGISTIC"), "int8 kernel is that coarse"),
        (poor("x", steps=2, clipped=0.25), "25.0% of its values are outside of the calibrated range"),
    ],
)
def test_advice_follows_from_the_numbers(error: LayerError, remedy: str) -> None:
    first, last = report.advice([HEALTHY, error])
    assert first.startswith(f"x ({error.op_name}): error 50.0% of the signal, rmse/scale ")
    assert remedy in first
    assert "denylisted_nodes" in last


def test_advice_names_five_layers_and_counts_the_others() -> None:
    lines = report.advice([poor(f"layer_{number}", 0.2 + number / 100) for number in range(8)])
    assert [line.partition(" ")[0] for line in lines[:5]] == [f"layer_{number}" for number in (7, 6, 5, 4, 3)]
    assert lines[5] == "and 3 more, see the report"
    assert len(lines) == 7


numbers = st.floats(-(2.0**100), 2.0**100, allow_subnormal=False, width=32)
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
positive = st.floats(2.0**-30, 2.0**30, width=32)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.builds(
            LayerError,
            op_name=names,
            tensor_name=names,
            layer=names,
            scale=positive,
            mean_squared_error=positive,
            stddev=numbers,
            mean_error=numbers,
            zero_point=st.integers(-128, 127),
        ),
        max_size=4,
    )
)
def test_the_csv_holds_every_number_to_the_precision_of_float32(errors: list[LayerError]) -> None:
    rows = table(report.to_csv(errors))
    assert [row["tensor_name"] for row in rows] == [error.tensor_name for error in errors]
    for row, error in zip(rows, errors, strict=True):
        for name in ("scale", "stddev", "mean_error", "mean_squared_error"):
            assert np.float32(row[name]) == np.float32(getattr(error, name))
        assert int(row["zero_point"]) == error.zero_point
        assert float(row["rmse/scale"]) == pytest.approx(math.sqrt(error.mean_squared_error) / error.scale)
        assert float(row["range"]) == pytest.approx(255 * error.scale)
        assert float(row["max"]) - float(row["min"]) == pytest.approx(255 * error.scale)


def test_the_csv_has_the_columns_of_tensorflow_and_of_its_guide() -> None:
    header = report.to_csv([]).decode()
    assert header == (
        "op_name,num_elements,stddev,mean_error,max_abs_error,mean_squared_error,scale,zero_point,tensor_name,"
        "range,rmse/scale,layer,min,max,relative_error,clipped\n"
    )


def png_size(content: bytes) -> tuple[int, int]:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.mark.parametrize("count", [1, 5, 60])
def test_the_plot_gives_each_layer_a_line_high_enough_to_read(count: int) -> None:
    errors = [poor(f"a_long_name_of_a_layer_{number}", number / 60, steps=number / 9) for number in range(count)]
    content = report.plot(errors, "a model")
    width, height = png_size(content)
    assert width == 1100
    assert 20 * count <= height <= 20 * count + 250 + 6 * count
    assert content == report.plot(errors, "a model")
    assert not [chunk for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME") if chunk in content]


def test_the_plot_shows_what_stands_out() -> None:
    calm = [replace(HEALTHY, layer=str(number), relative_error=0.01 + number / 1000) for number in range(3)]
    assert report.plot(calm, "t") != report.plot([calm[0], replace(calm[1], relative_error=0.2), calm[2]], "t")


# Models of a real Keras, each with one thing wrong.


@dataclass(frozen=True)
class Case:
    """A model with its samples, calibrated."""

    keras: Any
    loaded: keras_io.LoadedModel
    samples: Samples
    calibrated: bytes
    errors: list[LayerError]

    @property
    def x(self) -> np.ndarray[Any, Any]:
        return self.samples.arrays["0"]

    def node(self, layer: str) -> str:
        return next(error.tensor_name for error in self.errors if error.layer == layer)


def images(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).random((count, 8, 8, 3), dtype=np.float32)


def network(fault: str, bounded: bool = False) -> Any:
    """Return a model of four layers; `fault` makes `second` a bad one."""
    import keras

    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu", name="first"),
            layers.Conv2D(8, 3, name="second"),
            layers.ReLU(6 if bounded else None),
            layers.Conv2D(8, 3, activation="relu", name="third"),
            layers.Flatten(),
            layers.Dense(4, name="last"),
        ]
    )
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    if fault == "activations":  # a channel of huge values, which the next layer does not look at
        weights["second"][0][..., 2] = 1000 * np.abs(weights["second"][0][..., 2])
        weights["third"][0][:, :, 2, :] = 0
    elif fault == "weights":  # huge weights for an input that is hardly there
        weights["second"][0][:, :, 0, :] *= 1000
        weights["first"][0][..., 0] /= 1000
    for layer in model.layers:
        layer.set_weights(weights[layer.name])
    return model


def loaded(model: Any, path: Path) -> keras_io.LoadedModel:
    model.save(path)
    return keras_io.load(path, path.name, None)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Case]:
    """Return a function that gives a model with a fault, calibrated and measured once."""
    known: dict[tuple[str, bool], Case] = {}

    def of(fault: str = "", bounded: bool = False) -> Case:
        if (fault, bounded) not in known:
            model = network(fault, bounded)
            read = loaded(model, tmp_path_factory.mktemp("model") / "model.keras")
            samples = Samples("generate", {"0": images(64)})
            calibrated = TensorFlowConverter().calibrate(read, samples, GRAPH)
            errors = layer_errors.layer_errors(calibrated, samples, GRAPH)
            known[fault, bounded] = Case(model, read, samples, calibrated, errors)
        return known[fault, bounded]

    return of


def outputs(model: bytes, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    found = []
    for one in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], one[np.newaxis])
        interpreter.invoke()
        found.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(found)


def quantized(calibrated: bytes, *floats: str) -> bytes:
    from tensorflow.lite.python.convert import mlir_quantize

    return bytes(mlir_quantize(calibrated, denylisted_nodes=list(floats)))


def distance(case: Case, model: bytes) -> float:
    """Return how far a model's outputs are from Keras's, over how far those vary."""
    wanted = case.keras.predict(case.x, verbose=0)
    return float(np.std(outputs(model, case.x) - wanted) / np.std(wanted - wanted.mean(0)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "activations", "weights"])
def test_the_numbers_are_those_of_tensorflows_own_debugger(case: Callable[..., Case], fault: str) -> None:
    import tensorflow as tf

    def fed() -> Any:
        return ([found.x[number : number + 1]] for number in range(len(found.x)))

    found = case(fault)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([found.loaded.function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = fed
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=fed)
    debugger.run()
    stream = io.StringIO()
    debugger.layer_statistics_dump(stream)
    theirs, ours = table(stream.getvalue().encode()), table(report.to_csv(found.errors))
    assert len(theirs) == len(ours) == 5
    for wanted, row in zip(theirs, ours, strict=True):
        for column in ("op_name", "tensor_name", "zero_point"):
            assert row[column] == wanted[column]
        for column in ("num_elements", "stddev", "mean_error", "max_abs_error", "mean_squared_error", "scale"):
            assert np.float32(row[column]) == np.float32(wanted[column]), column


@pytest.mark.slow
def test_the_report_has_a_row_for_each_op_of_the_quantized_model(case: Callable[..., Case]) -> None:
    found = case()
    model = tflite.read(quantized(found.calibrated))
    ops = [op for op in model.operators if op.name not in ("QUANTIZE", "DEQUANTIZE")]
    assert [error.op_name for error in found.errors] == [op.name for op in ops]
    for error, op in zip(found.errors, ops, strict=True):
        quantization = model.tensors[op.outputs[0]].quantization
        assert quantization == tflite.Quantization((error.scale,), (error.zero_point,), 0)
    assert [error.layer for error in found.errors] == ["first", "second", "third", "flatten", "last"]


@pytest.mark.slow
def test_a_healthy_model_has_no_poor_layer(case: Callable[..., Case]) -> None:
    found = case()
    assert max(error.relative_error for error in found.errors) < 0.05
    assert report.advice(found.errors)[0].startswith("every layer is quantized well")
    assert distance(found, quantized(found.calibrated)) < 0.05


@pytest.mark.slow
def test_a_layer_with_one_channel_of_huge_values_is_the_worst(case: Callable[..., Case]) -> None:
    found = case("activations")
    (worst,) = report.worst(found.errors, 1)
    assert worst.layer == "second"
    assert worst.relative_error > 0.8
    # What the debugger itself reports looks better than healthy: the lost channels are less than a step.
    assert worst.rmse_over_scale < report.HEALTHY_RMSE_OVER_SCALE
    first, *_ = report.advice(found.errors)
    assert first.startswith("second")
    assert "bound or normalize it" in first
    assert distance(found, quantized(found.calibrated)) > 0.5


@pytest.mark.slow
def test_what_is_advised_for_a_wide_range_helps(case: Callable[..., Case]) -> None:
    found, bounded = case("activations"), case("activations", bounded=True)
    assert distance(bounded, quantized(bounded.calibrated)) < 0.1
    float_too = quantized(found.calibrated, found.node("second"), found.node("third"))
    assert distance(found, float_too) < 0.05
    # It alone is not enough: what reads it takes it in the same wide range.
    assert distance(found, quantized(found.calibrated, found.node("second"))) > 0.5
    oneshot = {**GRAPH, "mode": "oneshot", "optimizations": ["DEFAULT"], "supported_ops": [INT16X8]}
    assert distance(found, TensorFlowConverter().calibrate(found.loaded, found.samples, oneshot)) < 0.2


@pytest.mark.slow
def test_a_layer_with_a_few_huge_weights_is_the_worst(case: Callable[..., Case]) -> None:
    found = case("weights")
    (worst,) = report.worst(found.errors, 1)
    assert worst.layer == "second"
    assert worst.rmse_over_scale > 10
    first, *_ = report.advice(found.errors)
    assert first.startswith("second")
    assert "weights are too coarse" in first
    assert distance(found, quantized(found.calibrated)) > 0.5
    assert distance(found, quantized(found.calibrated, found.node("second"))) < 0.3


@pytest.mark.slow
def test_samples_beyond_the_calibrated_range_are_seen_to_be_clipped(case: Callable[..., Case]) -> None:
    found = case()
    # The input itself is clipped to 0..1; of 0s and 1s, the layers make more than of what lies between.
    far = Samples("generate", {"0": np.round(found.x)})
    errors = layer_errors.layer_errors(found.calibrated, far, GRAPH)
    clipped = [error for error in errors if error.clipped > 0.05]
    assert clipped
    assert any("outside of the calibrated range" in line for line in report.advice(clipped))
    assert max(error.clipped for error in found.errors) < 0.01


@pytest.mark.slow
def test_equal_models_and_samples_give_equal_bytes(case: Callable[..., Case]) -> None:
    found = case("weights")
    again = layer_errors.layer_errors(found.calibrated, found.samples, GRAPH)
    assert report.to_csv(again) == report.to_csv(found.errors)
    assert report.plot(again, "model") == report.plot(found.errors, "model")


@pytest.mark.slow
def test_of_many_samples_a_hundred_are_measured_spread_over_all(
    case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Any, ...]] = []
    monkeypatch.setattr(layer_errors, "progress", lambda *told_of: told.append(told_of[1:]))
    found, x = case(), images(300)
    many = layer_errors.layer_errors(found.calibrated, Samples("generate", {"0": x}), GRAPH)
    assert (told[0], told[-1]) == ((0, 100), (100, 100))
    third = layer_errors.layer_errors(found.calibrated, Samples("generate", {"0": x[::3]}), GRAPH)
    assert many == third


@pytest.mark.slow
def test_one_sample_is_enough(case: Callable[..., Case]) -> None:
    found = case()
    errors = layer_errors.layer_errors(found.calibrated, Samples("generate", {"0": found.x[:1]}), GRAPH)
    assert [error.layer for error in errors] == [error.layer for error in found.errors]
    assert all(0 <= error.relative_error < 0.1 for error in errors)
    assert errors[-1].relative_error > 0  # the last layer has one value per channel, which cannot vary


@pytest.mark.slow
def test_inputs_are_found_by_their_names(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    left, right = keras.Input((3,), name="zeta"), keras.Input((5,), name="alpha")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4)(left), keras.layers.Dense(4)(right)])
    model = loaded(keras.Model([left, right], keras.layers.Dense(2)(joined)), tmp_path / "two.keras")
    rng = np.random.default_rng(0)
    zeta, alpha = rng.random((16, 3), dtype=np.float32), rng.random((16, 5), dtype=np.float32)
    by_place = Samples("generate", {"0": zeta, "1": alpha})
    calibrated = TensorFlowConverter().calibrate(model, by_place, GRAPH)
    errors = layer_errors.layer_errors(calibrated, by_place, GRAPH)
    assert errors == layer_errors.layer_errors(calibrated, Samples("", {"alpha": alpha, "zeta": zeta}), GRAPH)
    with pytest.raises(UserError, match="sample 0 of input zeta has shape"):
        layer_errors.layer_errors(calibrated, Samples("", {"alpha": zeta, "zeta": alpha}), GRAPH)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> keras_io.LoadedModel:
    """Return a Keras 2 model with two inputs, whose LSTMs TensorFlow Lite has one op for."""
    import tf_keras

    tf_keras.utils.set_random_seed(1)
    ends = [tf_keras.Input((6, size), name=name) for size, name in ((2, "mid"), (2, "zeta"), (2, "alpha"))]
    joined = tf_keras.layers.Concatenate()([tf_keras.layers.LSTM(4)(end) for end in ends])
    path = tmp_path_factory.mktemp("lstm") / "lstm.h5"
    return loaded(tf_keras.Model(ends, tf_keras.layers.Dense(2)(joined)), path)


@pytest.mark.slow
def test_an_lstm_starts_anew_with_each_sample(recurrent: keras_io.LoadedModel) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.random((12, 6, 2), dtype=np.float32) for name in ("alpha", "mid", "zeta")}
    samples = Samples("", arrays)
    calibrated = TensorFlowConverter().calibrate(recurrent, samples, GRAPH)
    errors = layer_errors.layer_errors(calibrated, samples, GRAPH)
    lstms = [error.layer for error in errors if error.op_name == "UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert len(set(lstms)) == 3
    backwards = Samples("", {name: array[::-1].copy() for name, array in arrays.items()})
    for one, other in zip(errors, layer_errors.layer_errors(calibrated, backwards, GRAPH), strict=True):
        assert one.mean_squared_error == pytest.approx(other.mean_squared_error, rel=1e-4, abs=1e-15)
    by_place = Samples("", dict(enumerate_names(arrays)))
    with pytest.raises(UserError, match="give each sample as a dict with alpha, mid, zeta"):
        layer_errors.layer_errors(calibrated, by_place, GRAPH)


def enumerate_names(arrays: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(str(place), array) for place, array in enumerate(arrays.values())]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "float"}, "a float model has no quantization errors"),
        ({"mode": "oneshot", "supported_ops": [INT16X8]}, "measures int8 models, but not 16x8 ones"),
        ({"mode": "oneshot", "supported_ops": ["TFLITE_BUILTINS_INT8"]}, "experimental_new_quantizer False"),
    ],
)
def test_a_model_that_the_debugger_cannot_measure_is_a_user_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        layer_errors.layer_errors(b"", Samples("none", {}), settings)


def test_no_samples_are_a_user_error() -> None:
    with pytest.raises(UserError, match="no samples to measure the layers with"):
        layer_errors.layer_errors(b"", Samples("none", {}), GRAPH)


def test_what_is_no_model_is_a_user_error() -> None:
    with pytest.raises(UserError, match="not a TensorFlow Lite model"):
        layer_errors.layer_errors(b"x" * 99, Samples("", {"0": images(1)}), GRAPH)


@pytest.mark.slow
def test_samples_of_another_shape_are_a_user_error(case: Callable[..., Case]) -> None:
    with pytest.raises(UserError, match="has shape"):
        layer_errors.layer_errors(case().calibrated, Samples("", {"0": images(4)[:, :4]}), GRAPH)


@pytest.mark.slow
def test_a_model_without_quantized_layers_is_a_user_error(case: Callable[..., Case]) -> None:
    found = case()
    with pytest.raises(UserError, match="the model has no quantized layer"):
        layer_errors.layer_errors(report.unquantized(found.loaded, GRAPH), found.samples, GRAPH)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["quantizer", "debugger"])
def test_what_tensorflow_refuses_is_a_user_error(
    case: Callable[..., Case], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    import tensorflow as tf
    from tensorflow.lite.python import convert

    found = case()

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("\nEncountered unresolved custom op: X.\nSee the guide")

    if place == "debugger":
        monkeypatch.setattr(tf.lite.experimental.QuantizationDebugger, "run", refuse)
    else:
        monkeypatch.setattr(convert, "mlir_quantize", refuse)
    with pytest.raises(UserError, match=r"cannot measure the model: Encountered unresolved custom op: X\.; see"):
        layer_errors.layer_errors(found.calibrated, found.samples, GRAPH)


@pytest.mark.slow
@pytest.mark.parametrize("supported_types", [[], ["int8"]])
def test_the_unquantized_model_computes_what_keras_does(
    case: Callable[..., Case], supported_types: list[str]
) -> None:
    found = case("weights")
    graph = {**GRAPH, "optimizations": ["DEFAULT"], "supported_types": supported_types}
    data = report.unquantized(found.loaded, graph)
    wanted = found.keras.predict(found.x, verbose=0)
    assert np.abs(outputs(data, found.x) - wanted).max() < 1e-5
    assert wanted.std() > 0.01
    model = tflite.read(data)
    assert {tensor.dtype for tensor in model.tensors} == {"float32", "int32"}
    assert all(tensor.quantization is None for tensor in model.tensors)
    assert tflite.buffer_alignment_faults(data) == []
    constants = sum(tensor.buffer_bytes for tensor in model.tensors if tensor.dtype == "float32")
    assert constants >= 4 * sum(weights.size for weights in found.keras.get_weights() if weights.ndim > 1)


@pytest.mark.slow
def test_an_unquantized_lstm_is_float(recurrent: keras_io.LoadedModel) -> None:
    model = tflite.read(report.unquantized(recurrent, GRAPH))
    assert [op.name for op in model.operators].count("UNIDIRECTIONAL_SEQUENCE_LSTM") == 3
    assert {tensor.dtype for tensor in model.tensors} <= {"float32", "int32"}


def exported(path: Path, function: Any, dtype: str) -> keras_io.LoadedModel:
    """Return a function of (batch, 4) as a SavedModel that was read."""
    import tensorflow as tf

    module = tf.Module()
    module.call = tf.function(function)
    spec = tf.TensorSpec([None, 4], dtype, name="x")
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.call.get_concrete_function(spec)})
    return keras_io.load(path, "saved", None)


@pytest.mark.slow
def test_integers_that_are_data_stay_integers_in_the_unquantized_model(tmp_path: Path) -> None:
    import tensorflow as tf

    model = exported(tmp_path, lambda x: {"y": tf.cast(x, tf.float32) * 0.5}, "uint8")
    read = tflite.read(report.unquantized(model, GRAPH))
    assert [read.tensors[index].dtype for index in (*read.inputs, *read.outputs)] == ["uint8", "float32"]


@pytest.mark.slow
def test_a_model_that_quantizes_in_itself_has_no_unquantized_one(tmp_path: Path) -> None:
    import tensorflow as tf

    def call(x: Any) -> Any:
        y = tf.quantization.fake_quant_with_min_max_args(x, 0, 1)
        w = tf.quantization.fake_quant_with_min_max_args(tf.constant([[0.5]] * 4), 0, 1, narrow_range=True)
        return {"y": tf.quantization.fake_quant_with_min_max_args(tf.matmul(y, w), 0, 4)}

    with pytest.raises(UserError, match="the unquantized model has a quantized tensor"):
        report.unquantized(exported(tmp_path, call, "float32"), GRAPH)


def test_every_field_of_a_layer_is_in_the_csv() -> None:
    columns = table(report.to_csv([HEALTHY]))[0].keys()
    assert {field.name for field in fields(LayerError)} <= set(columns)
