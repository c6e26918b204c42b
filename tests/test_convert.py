"""Conversion by the real TensorFlow: staged equals one-shot, on the reference models and on small ones."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from doit_tflm import archive, keras_io, tflite
from doit_tflm.convert import TensorFlowConverter, check_result
from doit_tflm.errors import UserError
from doit_tflm.samples import Samples, draw
from doit_tflm.script import loaded
from doit_tflm.settings import ConverterSettings

pytestmark = pytest.mark.slow

MODELS = Path(__file__).parent.parent / "models"
NAMES = sorted(path.stem for path in MODELS.glob("[!_]*.py"))
INT8, FALLBACK = ["TFLITE_BUILTINS_INT8"], ["TFLITE_BUILTINS", "TFLITE_BUILTINS_INT8"]
GRAPH = {"mode": "int8", "weights": "", "input_shape": None, "allow_custom_ops": False}


def one_shot(model: keras_io.LoadedModel, samples: Samples, io_type: str, ops: list[str]) -> bytes:
    """Convert as TensorFlow's own guide does, in one call."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.function])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    arrays = list(samples.arrays.values())
    converter.representative_dataset = lambda: ([a[i : i + 1] for a in arrays] for i in range(len(samples)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet[name] for name in ops]
    converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io_type)
    return bytes(converter.convert())


def contents(data: bytes) -> list[Any]:
    """Return all that a model computes with: tensors with scales and constants, and ops with their options."""
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    tensors = []
    for tensor in graph.tensors:
        constant = model.buffers[tensor.buffer].data
        quantization = tensor.quantization
        scales = None if quantization is None or quantization.scale is None else quantization.scale.tolist()
        zeros = None if quantization is None or quantization.zeroPoint is None else quantization.zeroPoint.tolist()
        axis = None if quantization is None else quantization.quantizedDimension
        bytes_ = b"" if constant is None else bytes(constant)
        tensors.append((tensor.name, tuple(tensor.shape), tensor.type, scales, zeros, axis, bytes_))
    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        options = {} if operator.builtinOptions is None else vars(operator.builtinOptions)
        plain = {key: value for key, value in options.items() if not isinstance(value, np.ndarray)}
        ends = (tuple(operator.inputs), tuple(operator.outputs))
        operators.append((code.builtinCode, code.version, *ends, sorted(plain.items(), key=str)))
    return [tensors, operators, tuple(graph.inputs), tuple(graph.outputs)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that gives a reference model, 100 samples of it, and its calibrated form."""
    known: dict[str, tuple[keras_io.LoadedModel, Samples, bytes]] = {}

    def of(name: str) -> tuple[keras_io.LoadedModel, Samples, bytes]:
        if name not in known:
            directory = tmp_path_factory.mktemp(name)
            path, _ = keras_io.find_weights(name, str(MODELS / f"{name}.mltk.zip"), "", str(directory))
            with loaded(str(MODELS / f"{name}.py")) as script:
                samples, _ = draw(script, "generate", 100)
                build = script.spec.build_model_function
                assert build is not None
                model = keras_io.load(path, name, lambda: build(script.spec))
            known[name] = (model, samples, TensorFlowConverter().calibrate(model, samples, GRAPH))
        return known[name]

    return of


@pytest.mark.parametrize(
    ("name", "io_type", "ops"), list(itertools.product(NAMES, ["int8", "uint8", "float32"], [INT8, FALLBACK]))
)
def test_staged_quantization_equals_one_call_of_convert(
    reference: Any, name: str, io_type: str, ops: list[str]
) -> None:
    model, samples, calibrated = reference(name)
    settings = {
        "mode": "int8",
        "inference_input_type": io_type,
        "inference_output_type": io_type,
        "supported_ops": ops,
    }
    staged = TensorFlowConverter().quantize(calibrated, settings)
    check_result(staged, settings)
    assert contents(staged) == contents(one_shot(model, samples, io_type, ops))
    assert contents(tflite.aligned(staged)) == contents(staged)


@pytest.mark.parametrize("name", NAMES)
def test_calibration_is_the_same_in_any_order_of_conversions(reference: Any, name: str) -> None:
    model, samples, calibrated = reference(name)
    for other in NAMES:
        reference(other)
    assert TensorFlowConverter().calibrate(model, samples, GRAPH) == calibrated


def graph_settings(**changes: Any) -> dict[str, Any]:
    """Return the facet graph.json of settings that are converted in one shot."""
    settings = ConverterSettings(changes)
    settings.check()
    kept = {k: v for k, v in settings.canonical().items() if not k.startswith(("generate", "representative"))}
    return {**kept, "mode": settings.mode, "weights": "", "input_shape": None}


def small_model(keras: Any, *layers: Any, shape: tuple[int, ...] = (8, 8, 1)) -> Any:
    """Return an untrained model with fixed weights."""
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input(shape), *layers])


def saved(model: Any, path: Path) -> keras_io.LoadedModel:
    model.save(path)
    return keras_io.load(path, path.name, None)


def some_samples(*shape: int) -> Samples:
    return Samples("generate", {"0": np.random.default_rng(0).random((8, *shape), dtype=np.float32)})


def test_a_batch_of_one_leaves_no_shape_arithmetic_around_reshape(tmp_path: Path) -> None:
    import keras

    layers = (
        keras.layers.Conv2D(2, 3),
        keras.layers.Reshape((36, 2)),
        keras.layers.Flatten(),
        keras.layers.Dense(2),
    )
    model = saved(small_model(keras, *layers), tmp_path / "m.keras")
    calibrated = TensorFlowConverter().calibrate(model, some_samples(8, 8, 1), GRAPH)
    operators = {operator.name for operator in tflite.read(calibrated).operators}
    assert operators <= {"CONV_2D", "RESHAPE", "FULLY_CONNECTED"}


def test_sixteen_by_eight_takes_the_one_shot_path(tmp_path: Path) -> None:
    import keras

    ops = ["EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"]
    settings = graph_settings(supported_ops=ops, inference_input_type="int16", inference_output_type="int16")
    assert settings["mode"] == "oneshot"
    model = saved(small_model(keras, keras.layers.Conv2D(2, 3), keras.layers.ReLU()), tmp_path / "m.keras")
    tool = TensorFlowConverter()
    data = tool.quantize(tool.calibrate(model, some_samples(8, 8, 1), settings), settings)
    check_result(data, settings)
    assert {tflite.read(data).tensors[i].dtype for i in tflite.read(data).inputs} == {"int16"}


def test_no_optimizations_give_a_float_model(tmp_path: Path) -> None:
    import keras

    settings = graph_settings(optimizations=[], supported_ops=["TFLITE_BUILTINS"], representative_dataset=None)
    model = saved(small_model(keras, keras.layers.Conv2D(2, 3)), tmp_path / "m.keras")
    data = TensorFlowConverter().calibrate(model, Samples("none", {}), settings)
    check_result(data, settings)
    assert {tensor.dtype for tensor in tflite.read(data).tensors} <= {"float32", "int32"}


def test_an_op_that_stays_float_is_an_error_that_names_it(tmp_path: Path) -> None:
    import keras

    x = keras.Input((4,))
    model = saved(keras.Model(x, keras.ops.sin(keras.layers.Dense(4)(x))), tmp_path / "m.keras")
    tool = TensorFlowConverter()
    settings = {
        "mode": "int8",
        "inference_input_type": "int8",
        "inference_output_type": "int8",
        "supported_ops": INT8,
    }
    data = tool.quantize(tool.calibrate(model, some_samples(4), GRAPH), settings)
    with pytest.raises(UserError, match=r"^SIN .* is float, but supported_ops has integer ops only"):
        check_result(data, settings)
    check_result(data, {**settings, "supported_ops": FALLBACK})


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_keras_3_weights_load_from_either_format(tmp_path: Path, suffix: str) -> None:
    import keras

    model = saved(small_model(keras, keras.layers.Dense(3), shape=(4,)), tmp_path / f"m{suffix}")
    assert [(one.shape, one.dtype) for one in model.inputs] == [((4,), "float32")]


def test_weights_alone_load_into_the_model_that_the_spec_builds(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    model = small_model(keras, keras.layers.Dense(3), shape=(4,))
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with pytest.raises(UserError, match="holds weights only"):
        keras_io.load(path, "m", None)
    fresh = keras_io.load(path, "m", lambda: small_model(keras, keras.layers.Dense(3), shape=(4,)))
    x = tf.ones((1, 4))
    np.testing.assert_allclose(fresh.function(x)[0], model(x), rtol=1e-6)


def test_an_archive_of_a_newer_keras_is_read_through_the_builder(tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    def build() -> Any:
        return small_model(keras, keras.layers.Dense(3, name="dense"), shape=(4,))

    model = build()
    model.set_weights([weights + 1 for weights in model.get_weights()])
    model.save(tmp_path / "m.keras")
    config = json.loads(archive.read_member(tmp_path / "m.keras", "config.json") or b"")
    config["config"]["layers"][1]["config"]["word_of_a_later_keras"] = None
    metadata = json.loads(archive.read_member(tmp_path / "m.keras", "metadata.json") or b"")
    metadata["keras_version"] = "99.1.0"
    changed = {"config.json": json.dumps(config).encode(), "metadata.json": json.dumps(metadata).encode()}
    archive.update_members(tmp_path / "m.keras", changed)
    with pytest.raises(UserError, match="cannot be loaded"):
        keras_io.load(tmp_path / "m.keras", "m", None)
    found = keras_io.load(tmp_path / "m.keras", "m", build)
    assert found.is_built
    assert found.notes == ("m.keras is Keras 99.1.0's: build_model_function makes the model around its weights",)
    x = tf.ones((1, 4))
    np.testing.assert_allclose(found.function(x)[0], model(x), rtol=1e-6)


def test_a_saved_model_directory_loads(tmp_path: Path) -> None:
    import keras

    model = small_model(keras, keras.layers.Conv2D(2, 3), keras.layers.Flatten())
    model.export(tmp_path / "saved", verbose=False)
    loaded_model = keras_io.load(tmp_path / "saved", "saved", None)
    calibrated = TensorFlowConverter().calibrate(loaded_model, some_samples(8, 8, 1), GRAPH)
    assert [operator.name for operator in tflite.read(calibrated).operators] == ["CONV_2D", "RESHAPE"]


def test_keras_2_weights_with_a_depthwise_convolution_load_through_tf_keras(tmp_path: Path) -> None:
    import tf_keras

    layers = (tf_keras.layers.DepthwiseConv2D(3), tf_keras.layers.Flatten(), tf_keras.layers.Dense(2))
    model = small_model(tf_keras, *layers)
    loaded_model = saved(model, tmp_path / "m.h5")
    calibrated = TensorFlowConverter().calibrate(loaded_model, some_samples(8, 8, 1), GRAPH)
    assert "DEPTHWISE_CONV_2D" in {operator.name for operator in tflite.read(calibrated).operators}


def test_a_keras_2_lstm_is_fused_and_runs_in_tflm(tmp_path: Path) -> None:
    import tf_keras

    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    model = small_model(tf_keras, tf_keras.layers.LSTM(4, return_sequences=True), shape=(5, 3))
    tool = TensorFlowConverter()
    calibrated = tool.calibrate(saved(model, tmp_path / "m.h5"), some_samples(5, 3), GRAPH)
    settings = {
        "mode": "int8",
        "inference_input_type": "int8",
        "inference_output_type": "int8",
        "supported_ops": INT8,
    }
    data = tool.quantize(calibrated, settings)
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {operator.name for operator in tflite.read(data).operators}
    interpreter = runtime.Interpreter.from_bytes(data)
    interpreter.set_input(np.zeros((1, 5, 3), np.int8), 0)
    interpreter.invoke()
    assert interpreter.get_output(0).shape == (1, 5, 4)


def test_two_inputs_are_matched_by_name(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    a, b = keras.Input((4,), name="b_first"), keras.Input((2,), name="a_second")
    model = saved(keras.Model([a, b], keras.layers.Concatenate()([a, b])), tmp_path / "m.keras")
    assert [one.name for one in model.inputs] == ["b_first", "a_second"]
    rng = np.random.default_rng(0)
    arrays = {"a_second": rng.random((8, 2), np.float32) * 9, "b_first": rng.random((8, 4), np.float32)}
    tool = TensorFlowConverter()
    settings = {
        "mode": "int8",
        "inference_input_type": "int8",
        "inference_output_type": "int8",
        "supported_ops": INT8,
    }
    read = tflite.read(tool.quantize(tool.calibrate(model, Samples("function", arrays), GRAPH), settings))
    assert [read.tensors[i].shape for i in read.inputs] == [(1, 4), (1, 2)]
    swapped = Samples("function", {"0": arrays["a_second"], "1": arrays["b_first"]})
    with pytest.raises(UserError, match=r"sample 0 of input b_first has shape \(2,\), but the model takes \(4,\)"):
        tool.calibrate(model, swapped, GRAPH)


def test_the_reference_archives_hold_one_model_each() -> None:
    for name in NAMES:
        held = set(archive.members(MODELS / f"{name}.mltk.zip"))
        assert {f"{name}.py", f"{name}.keras", f"{name}.tflite", "train/training-history.json"} <= held
