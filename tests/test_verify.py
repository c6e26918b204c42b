"""What a model is refused for, and what is known of one that passes: by the real TensorFlow and the real TFLM."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conftest import DODO, Project
from doit_tflm import archive, golden, tflite, tflm
from doit_tflm.errors import UserError

pytestmark = pytest.mark.slow

SPEC = """\
import numpy as np
import keras
from keras import layers

from doit_tflm import ModelSpec

spec = ModelSpec(description="a real model", epochs=1, loss="mse")
spec.tflite_converter["inference_input_type"] = "int8"
spec.tflite_converter["inference_output_type"] = "int8"


def load(subset):
    x = np.random.default_rng(0).uniform(-1, 1, (1000, 8)).astype(np.float32)
    return x, x[:, :4]


def build(spec):
    x = keras.Input((8,), name="x")
    y = layers.Dense(4, name="last")(layers.Dense(16, activation="relu", name="first")(x))
    model = keras.Model(x, y)
    model.compile("sgd", "mse")
    return model


spec.dataset = load
spec.build_model_function = build
"""


class Real(Project):
    """A project with the real converter, and one small model, trained for a moment."""

    def refused(self, *names: str) -> str:
        """Build, expect one message and that no output of the build before is touched; return what was said."""
        before = self.delivered()
        run = self.doit("quantize", timeout_s=300)
        assert run.code == 1, run.out
        assert run.out.count(" failed\n") == 1, run.out
        assert "Traceback" not in run.out + run.err
        assert self.delivered() == before
        for name in names:
            assert name in run.out, run.out
        return run.out

    def delivered(self) -> dict[str, bytes]:
        """Return what firmware and archive have: what a build that fails must leave alone."""
        kept = ("firmware/", "m.mltk.zip!", "build/m/m.tflite")
        return {name: content for name, content in self.outputs().items() if name.startswith(kept)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Real:
    project = Real(tmp_path_factory.mktemp("real"))
    project.write("dodo.py", DODO)
    project.write("models/m.py", SPEC)
    run = project.doit("train:m", timeout_s=300)
    assert run.code == 0, run.out + run.err
    return project


@pytest.fixture
def real(trained: Real, tmp_path: Path) -> Real:
    """Return a copy of a project whose model is trained and built."""
    return Real(trained.copy_to(tmp_path / "real").root)


def made(project: Real, text: str) -> None:
    """Run a program in the project: it makes weights."""
    project.write("make.py", text)
    subprocess.run([sys.executable, "make.py"], cwd=project.root, check=True, capture_output=True)


def with_weights(project: Real, build: str, script: str = SPEC, *, export: bool = False) -> None:
    """Give the project a model of another structure, untrained: its weights are not the archive's."""
    name = "m.saved" if export else "m.keras"
    save = f"model.{'export' if export else 'save'}('{name}')"
    made(project, f"import keras, numpy as np\nfrom keras import layers\n\n{build}\n{save}\n")
    project.write("models/m.py", f'{script}spec.weights = "{name}"\n')


def test_a_good_model_passes_and_firmware_gets_all_its_facts(real: Real) -> None:
    measured = json.loads(real.path("build/m/measured.json").read_text())
    text = real.path("firmware/generated/m_model_data.h").read_text()
    assert f"#define M_MODEL_ARENA_MEASURED_BYTES {measured['arena_bytes']}u\n" in text
    assert "#define M_MODEL_MACS 192\n" in text
    assert f"{measured['kernels']} kernels were measured to need on a {measured['word_bits']}-bit host" in text
    assert "AddFullyConnected" in real.path("firmware/generated/m_op_resolver.h").read_text()
    assert "M_MODEL_GOLDEN_COUNT 3\n" in real.path("firmware/generated/m_golden.h").read_text()


# What a model is refused for: the outputs of the build before stay.


def test_an_operator_that_tflm_lacks_is_named_with_its_layer_and_a_way_out(real: Real) -> None:
    own = (
        "import tensorflow as tf\n\n\n"
        "@keras.saving.register_keras_serializable()\nclass Best(layers.Layer):\n"
        "    def call(self, t):\n        return tf.math.top_k(t, k=4)[0]\n\n\n"
    )
    build = (
        f'{own}x = keras.Input((8,), name="x")\n'
        'model = keras.Model(x, Best(name="best")(layers.Dense(16, name="scores")(x)))'
    )
    with_weights(real, build, SPEC.replace("\nspec = ", f"\n{own}spec = "))
    said = real.refused("m: verify failed\n", "models/m.py: TFLM has no operator TOPK_V2 (layer best")
    assert "let the firmware pick the largest" in said
    assert "Didn't find op for builtin opcode 'TOPK_V2'" in real.path("build/m/verify.log").read_text()


def test_a_layer_that_stayed_float_is_named(real: Real) -> None:
    build = (
        'x = keras.Input((8,), name="x")\n'
        'model = keras.Model(x, layers.Lambda(lambda t: keras.ops.sin(t), name="wave")(layers.Dense(4)(x)))'
    )
    # Keras itself does not load a Lambda without being told to trust it; a SavedModel has none any more.
    with_weights(real, build, export=True)
    real.refused("m: quantize failed\n  models/m.py: SIN (", " is float, but supported_ops has integer ops only")


def test_a_layer_that_tensorflow_lite_has_no_operator_for_is_one_message(real: Real) -> None:
    build = (
        'x = keras.Input((8,), name="x")\n'
        "model = keras.Model(x, layers.Lambda(lambda t: keras.ops.erf(t))(layers.Dense(4)(x)))"
    )
    with_weights(real, build, export=True)
    real.refused("m: calibrate failed\n  models/m.py: TensorFlow Lite has no operator for Erf; ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return x, x[:, :4]", "return x[:0], x[:0, :4]", 'dataset("validation") gives no samples'),
        ("return x, x[:, :4]", "return x * np.nan, x[:, :4]", "NaN or infinity in 1000 of 1000 samples"),
        (
            "    return x, x[:, :4]",
            "    x[700] = np.nan\n    return x, x[:, :4]",
            "sample 700 of input 0 is not finite (NaN or infinity in 1 of 1000 samples)",
        ),
        (
            "return x, x[:, :4]",
            "return x[:, :6], x[:, :4]",
            "sample 0 of input x has shape (6,), but the model takes (8,)",
        ),
    ],
    ids=["no samples", "all NaN", "one NaN in a thousand", "a wrong shape"],
)
def test_samples_that_cannot_calibrate_are_refused(real: Real, old: str, new: str, message: str) -> None:
    real.edit("models/m.py", old, new)
    real.refused(message)


def test_samples_of_a_wrong_dtype_are_refused(real: Real) -> None:
    generator = (
        "\n\ndef generate():\n    for row in load('validation')[0][:10]:\n"
        "        yield [row[None].astype(np.int16)]\n\n\n"
        'spec.tflite_converter["representative_dataset"] = generate\n'
    )
    real.write("models/m.py", SPEC + generator)
    real.refused("m: calibrate failed\n", "sample 0 of input x is int16, but the model takes float32")


def test_swapped_inputs_of_a_model_of_two_are_refused(real: Real) -> None:
    build = (
        'a, b = keras.Input((8,), name="a"), keras.Input((3,), name="b")\n'
        "model = keras.Model([a, b], layers.Dense(4)(layers.Concatenate()([a, b])))"
    )
    script = SPEC.replace("return x, x[:, :4]", "return [x[:, :3], x], x[:, :4]")
    with_weights(real, build, script)
    real.refused("m: calibrate failed\n", "sample 0 of input a has shape (3,), but the model takes (8,)")
    real.edit("models/m.py", "[x[:, :3], x]", '{"b": x[:, :3], "a": x}')
    assert real.doit("quantize", timeout_s=300).code == 0
    vectors = golden.read(real.path("build/m/golden.npz"))
    assert [array.shape for array in vectors.inputs] == [(3, 1, 8), (3, 1, 3)]


def test_labels_of_another_model_are_refused(real: Real) -> None:
    real.edit("models/m.py", 'description="a real model"', 'classes=["yes", "no", "maybe"]')
    real.refused("m: embed failed\n", "models/m.py: classes has 3 labels, but the model 4 outputs")
    real.edit("models/m.py", "epochs=1", 'epochs=1, evaluate_as="regressor"')
    assert real.doit("quantize").code == 0


# A converter that crashes.


def test_a_keras_3_lstm_fails_alone_and_with_tf_keras_it_runs(real: Real) -> None:
    spec = SPEC.replace("(1000, 8)", "(100, 6, 4)").replace("x[:, :4]", "x[:, 0, :2]") + 'spec.weights = "{}"\n'
    layers = "keras.Input((6, 4), name='x'), keras.layers.LSTM(5), keras.layers.Dense(2)"
    layers = f"model = keras.Sequential([{layers}])\n"
    made(real, f"import keras\n{layers}model.save('k3.keras')\n")
    made(real, f"import tf_keras as keras\n{layers}model.save('k2.h5')\n")
    real.write("models/crashing.py", spec.format("k3.keras"))
    real.write("models/lstm.py", spec.format("k2.h5"))
    run = real.doit("--continue", "quantize", timeout_s=400)
    assert run.code != 0
    assert "crashing: calibrate failed\n  the worker process crashed (SIG" in run.out
    assert "  log: build/crashing/calibrate.log\n" in run.out
    assert "lstm:header" in run.ran
    assert "AddUnidirectionalSequenceLSTM" in real.path("firmware/generated/lstm_op_resolver.h").read_text()
    assert json.loads(real.path("build/lstm/measured.json").read_text())["arena_bytes"] > 0


# The arena.


def test_the_measured_arena_is_the_smallest_and_the_constant_has_the_margin(real: Real) -> None:
    measured = json.loads(real.path("build/m/measured.json").read_text())["arena_bytes"]
    data = real.path("build/m/m.tflite").read_bytes()
    interpreter = tflm.Interpreter(data, tflite.read(data))
    assert interpreter.attempt(measured, invoke=True) == ""
    assert interpreter.attempt(measured - 16, invoke=True) != ""
    interpreter.close()
    assert measured % 16 == 0


def test_a_model_that_crashes_the_interpreter_is_a_message() -> None:
    class Crashing(tflm.Interpreter):
        def attempt(self, arena_bytes: int, *, invoke: bool) -> str:
            del arena_bytes, invoke
            return tflm._outcome(-11, "some words\n")

    data, file = _tiny()
    interpreter = Crashing(data, file)
    with pytest.raises(UserError, match=r"TFLM does not run the model: TFLM's interpreter crashed \(SIGSEGV\)"):
        interpreter.enough_bytes()
    interpreter.close()


def _tiny() -> tuple[bytes, tflite.TfliteFile]:
    from standin import _model

    data = _model(b"weights", {"inference_input_type": "int8", "inference_output_type": "int8"})
    return data, tflite.read(data)


# Golden vectors.


def test_golden_vectors_are_what_tflm_gives_in_another_process_and_directory(real: Real, tmp_path: Path) -> None:
    other = Real(real.copy_to(tmp_path / "else where").root)
    other.path("build/m/golden.npz").unlink()
    assert other.build().stages == ["verify"]
    assert other.outputs() == real.outputs()
    vectors = golden.read(real.path("build/m/golden.npz"))
    data = real.path("build/m/m.tflite").read_bytes()
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data)
    for given, made in zip(vectors.inputs[0], vectors.outputs[0], strict=True):
        interpreter.set_input(given, 0)
        interpreter.invoke()
        np.testing.assert_array_equal(interpreter.get_output(0), made)
    text = real.path("firmware/generated/m_golden.c").read_text()
    assert ", ".join(str(value) for value in vectors.outputs[0][0].ravel()) in text


# The report, and the model in float32.


def test_what_generate_settings_ask_for_is_a_part_of_quantize_and_in_the_archive(real: Real) -> None:
    asked = "".join(
        f'spec.tflite_converter["generate_{what}"] = True\n' for what in ("quantization_report", "unquantized")
    )
    before = real.delivered()
    real.write("models/m.py", SPEC + asked)
    run = real.build()
    assert run.stages == ["spec", "report", "archive"]
    assert re.search(r"m: .*\((FULLY_CONNECTED)\).*rmse/scale", run.out)
    after = real.delivered()
    assert all(after[name] == content for name, content in before.items())
    path = real.path("models/m.mltk.zip")
    rows = (archive.read_member(path, "quantization_report.csv") or b"").decode().splitlines()
    assert [row.split(",")[0] for row in rows] == ["op_name", "FULLY_CONNECTED", "FULLY_CONNECTED"]
    assert (archive.read_member(path, "quantization_report.png") or b"").startswith(b"\x89PNG")
    unquantized = tflite.read(archive.read_member(path, "m.float32.tflite") or b"")
    assert {tensor.dtype for tensor in unquantized.tensors} == {"float32"}
    assert real.build().stages == []


def test_the_archive_tells_in_text_what_is_in_it(real: Real) -> None:
    path = real.path("models/m.mltk.zip")
    text = (archive.read_member(path, "m.tflite.summary.txt") or b"").decode()
    assert re.search(r"0 +FULLY_CONNECTED +first +1x16 int8", text)
    assert "in float32" in text
    keras = (archive.read_member(path, "m.keras.summary.txt") or b"").decode()
    assert "first (Dense)" in keras
    archive.update_members(path, {}, remove=["m.keras.summary.txt", "m.tflite.summary.txt"])
    assert real.build().stages == ["archive"]
    assert (archive.read_member(path, "m.tflite.summary.txt") or b"").decode() == text
    assert "first (Dense)" in (archive.read_member(path, "m.keras.summary.txt") or b"").decode()
