"""Specification scripts written for MLTK: run unmodified, where ``mltk`` itself is not installed.

``DOIT_TFLM_MLTK_SPECS`` names a copy of the directory ``mltk/models`` of MLTK's repository, for the sweep over its
scripts.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import DODO, Project, Run
from doit_tflm import TfliteModel, archive, facets, parameters, samples
from doit_tflm.errors import UserError
from doit_tflm.mltk_compat import drawing
from doit_tflm.mltk_compat.mixins import ALL_MIXINS, Mixin
from doit_tflm.script import loaded
from doit_tflm.train import Asked, _fitted

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mltk") is not None, reason="the real mltk is installed, and is not replaced"
)

MODELS = Path(os.environ.get("DOIT_TFLM_MLTK_SPECS", "no-such-directory"))

HEAD = """\
import numpy as np
import mltk.core as mltk_core


class MyModel(
    mltk_core.MltkModel,
    mltk_core.TrainMixin,
    mltk_core.DatasetMixin,
    mltk_core.EvaluateClassifierMixin,
):
    pass


my_model = MyModel()
"""
DATA = """

def load(subset, test, **kwargs):
    assert not test
    x = np.linspace(-SCALE, SCALE, 160, dtype=np.float32).reshape(40, 4)
    return x, x.sum(axis=1)


SCALE = 1.0
my_model.dataset = load
"""
SPEC = f"""{HEAD}
my_model.version = 1
my_model.description = "a test model"
my_model.classes = ["no", "yes", "on", "off"]
my_model.epochs = 3
my_model.tflite_converter["optimizations"] = ["DEFAULT"]
my_model.tflite_converter["supported_ops"] = ["TFLITE_BUILTINS_INT8"]
my_model.tflite_converter["inference_input_type"] = np.int8
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.tflite_converter["representative_dataset"] = "generate"
my_model.tflite_converter["representative_dataset_max_samples"] = 20
my_model.model_parameters["volume_db"] = 5.0
{DATA}"""

QUIET = ("DatasetMixin", "DataGeneratorDatasetMixin", "ImageDatasetMixin", "AudioDatasetMixin", "EvaluateMixin")
"""Mixins whose many small properties the guide passes over."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project, the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path


def facets_of(text: str, name: str = "kws") -> dict[str, dict[str, Any]]:
    Path(f"models/{name}.py").write_text(text)
    with loaded(f"models/{name}.py") as script:
        return facets.facets(script)


def failure(text: str) -> str:
    with pytest.raises(UserError) as caught:
        facets_of(text)
    return str(caught.value)


def drawn(text: str, source: str = "generate", limit: int | None = 1000) -> np.ndarray:
    Path("models/kws.py").write_text(text)
    with loaded("models/kws.py") as script:
        return samples.draw(script, source, limit)[0].arrays["0"]


# What the properties come to


@pytest.mark.usefixtures("root")
def test_the_properties_become_those_of_a_model_spec() -> None:
    Path("models/kws.py").write_text(SPEC)
    with loaded("models/kws.py") as script:
        spec = script.spec
        assert (spec.name, spec.version, spec.description) == ("kws", 1, "a test model")
        assert (spec.classes, spec.epochs, spec.batch_size) == (["no", "yes", "on", "off"], 3, 32)
        assert (spec.optimizer, spec.loss, spec.metrics) == ("adam", "categorical_crossentropy", ["accuracy"])
        assert spec.tflite_converter["inference_input_type"] is np.int8
        assert spec.model_parameters == {"volume_db": 5.0}
        assert spec.evaluate_as == "classifier"


@pytest.mark.usefixtures("root")
def test_the_ways_to_import_mltk_are_all_there() -> None:
    text = """\
from mltk import core as one
import mltk.core as two
import mltk.core.model
from mltk.core.model import MltkModel, TrainMixin, ImageDatasetMixin, EvaluateAutoEncoderMixin
from mltk.core import *
from mltk.core.preprocess.image.parallel_generator import ParallelImageDataGenerator, ParallelProcessParams
from mltk.core.preprocess.utils import tf_dataset as tf_dataset_utils, split_file_list
from mltk.core.tflite_model.tflite_model import TfliteModel
from mltk.utils.python import DictObject, prepend_exception_msg
from mltk.utils.archive_downloader import download_verify_extract
from mltk.models.shared import ResNet10V1
from mltk.datasets.image import mnist, cifar10
from mltk.datasets import audio as audio_datasets
from mltk import cli, MLTK_DIR

assert one is two is mltk.core and MltkModel is two.MltkModel is MltkModel
assert mnist.CLASSES[9] == "9" and cifar10.INPUT_SHAPE == (32, 32, 3)
assert DictObject(a=1).a == 1
class MyModel(MltkModel, TrainMixin, ImageDatasetMixin, EvaluateAutoEncoderMixin):
    pass
my_model = MyModel()
my_model.tflite_converter["optimizations"] = []
my_model.tflite_converter["supported_ops"] = ["TFLITE_BUILTINS"]
"""
    assert facets_of(text)["parameters"]["evaluate_as"] == "autoencoder"


def test_mltk_is_there_only_while_a_script_runs(root: Path) -> None:
    facets_of(SPEC)
    assert not [name for name in sys.modules if name.split(".")[0] == "mltk"]
    assert importlib.util.find_spec("mltk") is None
    assert root.exists()


def test_a_package_mltk_that_is_there_is_not_replaced(root: Path) -> None:
    (root / "mltk/core").mkdir(parents=True)
    (root / "mltk/__init__.py").write_text("")
    (root / "mltk/core/__init__.py").write_text("class MltkModel: pass\n")
    text = "import mltk.core\nmy_model = mltk.core.MltkModel()\n"
    assert "the package mltk is installed" in failure(text)
    assert "No module named 'mltk.utils'" in failure("import mltk.utils\n")


@pytest.mark.usefixtures("root")
def test_properties_that_mean_nothing_here_are_kept_and_read_back() -> None:
    text = f"""{SPEC}
my_model.checkpoint["monitor"] = "val_loss"
my_model.tensorboard = dict(histogram_freq=0)
my_model.class_weights = "balanced"
my_model.class_counts["training"] = {{"no": 3}}
my_model.keras_custom_objects["Thing"] = dict
my_model.eval_max_samples_per_class = 100
assert my_model.checkpoint["monitor"] == "val_loss" and my_model.checkpoint["save_best_only"]
assert my_model.class_counts == {{"training": {{"no": 3}}, "validation": {{}}, "evaluation": {{}}}}
assert not my_model.early_stopping and my_model.n_classes == 4 and my_model.eval_shuffle is False
assert my_model.model_specification_path == __file__
assert my_model.name == "kws" and my_model.test_mode_enabled is False
assert mltk_core.get_mltk_logger().name == "mltk"
"""
    assert facets_of(text)["parameters"] == facets_of(SPEC)["parameters"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("my_model.epocs = 3", "models/kws.py:15: a MyModel has no property 'epocs'; did you mean 'epochs'?"),
        ("my_model.early_stoping = {}", "did you mean 'early_stopping'?"),
        ("my_model.datagen = 1", "have the class inherit ImageDatasetMixin or AudioDatasetMixin"),
        ("my_model.zzzz = 1", "keep values of your own in module variables"),
        ("my_model.tflite_converter['inference_inputtype'] = 'int8'", "did you mean 'inference_input_type'?"),
        ("my_model.version = 'one'", "version is 'one', but must be a whole number"),
        ("my_model.early_stopping = 3", "early_stopping is 3; give a dict"),
        ("my_model.name = 'x'", "name cannot be set"),
        ("mltk_core.MltkModell", "mltk.core has no MltkModell; did you mean MltkModel?"),
        ("import mltk.cor", "No module named 'mltk.cor'"),
        ("mltk_core.train_model(my_model)", "needs mltk.core.train_model, which is MLTK's own code"),
        (
            "from mltk.utils.python import install_pip_package as i; i('nosuchpackage')",
            "pip install nosuchpackage",
        ),
        ("my_model.classes = mltk_core.TfliteModel", "needs mltk.core.TfliteModel"),
        (
            "my_model.add_event_handler(mltk_core.MltkModelEvent.BEFORE_QUANTIZE, print)",
            "handlers of BEFORE_QUANTIZE are not called here",
        ),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_mistake_is_an_error_that_says_how_to_mend_it(line: str, message: str) -> None:
    text = HEAD.rstrip("\n")
    assert message in failure(f"{text}\n{line}\n")


@pytest.mark.usefixtures("root")
def test_audio_settings_go_into_the_parameters_and_give_the_input_shape() -> None:
    text = """\
from mltk.core import *
from mltk.core.preprocess.audio.audio_feature_generator import AudioFeatureGeneratorSettings
from mltk.core.preprocess.audio.parallel_generator import ParallelAudioDataGenerator
from mltk.datasets.audio.speech_commands import speech_commands_v2
class MyModel(MltkModel, TrainMixin, AudioDatasetMixin, EvaluateClassifierMixin): pass
my_model = MyModel()
front_end = AudioFeatureGeneratorSettings()
front_end.sample_length_ms = 1200
front_end.window_size_ms = 30
front_end.window_step_ms = 20
front_end.filterbank_n_channels = 49
my_model.dataset = speech_commands_v2
my_model.datagen = ParallelAudioDataGenerator(frontend_settings=front_end, cores=0.45, rescale=0.5)
assert my_model.input_shape == (59, 49, 1), my_model.input_shape
my_model.set_model_parameter("latency_ms", 100, "uint16")
"""
    found = facets_of(text)["parameters"]
    assert found["parameters"]["fe.sample_length_ms"] == 1200
    assert found["parameters"]["fe.fft_length"] == 512
    assert found["parameters"]["fe.pcan_strength"] == 0.95
    assert found["parameters"]["samplewise_norm.rescale"] == 0.5
    assert found["types"]["latency_ms"] == "uint16"
    with pytest.raises(
        UserError, match=r"kws\.py: needs mltk\.datasets\.audio\.speech_commands\.speech_commands_v2"
    ):
        drawn(text)
    assert "did you mean 'window_step_ms'" in failure(text + "front_end.window_stepms = 3\n")


# Data


@pytest.mark.parametrize(
    "dataset",
    [
        "lambda subset, test, **kwargs: X",
        "lambda subset, **kwargs: (X, Y)",
        "lambda subset, **kwargs: (X[:0], None, X) if subset == 'validation' else 1 / 0",
    ],
)
@pytest.mark.usefixtures("root")
def test_a_dataset_function_returns_what_mltk_lets_it(dataset: str) -> None:
    text = f"{HEAD}X, Y = np.arange(8.0).reshape(4, 2), np.arange(4)\nmy_model.dataset = {dataset}\n"
    assert drawn(text).tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.usefixtures("root")
def test_a_dataset_may_be_an_object_and_may_set_the_data_itself() -> None:
    text = f"""{HEAD}
class Data(mltk_core.MltkDataset):
    def load_dataset(self, subset, test, mltk_model, **kwargs):
        assert mltk_model is my_model
        self.times = getattr(self, "times", 0) + 1
        my_model.x = np.ones((3, 2)) * 2
        my_model.class_counts[subset] = {{"a": 3}}
my_model.dataset = Data()
"""
    assert drawn(text).tolist() == [[2, 2]] * 3


@pytest.mark.usefixtures("root")
def test_the_data_may_be_set_as_properties_or_loaded_by_the_class() -> None:
    assert drawn(f"{HEAD}my_model.x = np.ones((3, 2))\n").shape == (3, 2)
    own = HEAD.replace(
        "    pass\n",
        "    def load_dataset(self, subset, test=False, **kwargs):\n        self.x = np.ones((5, 2))\n",
    )
    assert drawn(own).shape == (5, 2)


@pytest.mark.usefixtures("root")
def test_a_generator_function_finds_the_validation_data_loaded() -> None:
    text = f"""{SPEC}
def generate():
    for value in my_model.x[:7]:
        yield [value[np.newaxis]]
my_model.tflite_converter["representative_dataset"] = generate
"""
    assert drawn(text, "function", None).shape == (7, 4)
    assert facets_of(text)["calibration"]["source"] == "function"


IMAGES = """\
import functools
import numpy as np
from mltk.core import *
from mltk.core.preprocess.image.parallel_generator import ParallelImageDataGenerator
class MyModel(MltkModel, TrainMixin, ImageDatasetMixin): pass
my_model = MyModel()
def load(model):
    return np.zeros((2, 8)), np.zeros(2), np.ones((3, 8)), np.ones(3)
my_model.dataset = functools.partial(load, my_model)
my_model.datagen = ParallelImageDataGenerator(cores=0.35, rotation_range=15, SETTINGS)
"""


@pytest.mark.usefixtures("root")
def test_arrays_that_mltk_would_only_augment_for_training_are_drawn() -> None:
    text = IMAGES.replace("SETTINGS", "validation_augmentation_enabled=False")
    assert drawn(text).tolist() == [[1] * 8] * 3


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("SETTINGS", "", "ParallelImageDataGenerator for its rotation_range"),
        (
            "SETTINGS",
            "validation_augmentation_enabled=False, rescale=0.5",
            "ParallelImageDataGenerator for its rescale",
        ),
        ("functools.partial(load, my_model)", "'datasets/images'", "to read 'datasets/images'"),
    ],
)
@pytest.mark.usefixtures("root")
def test_samples_that_mltk_s_generator_would_make_are_an_error_with_two_ways_out(
    old: str, new: str, message: str
) -> None:
    text = IMAGES.replace(old, new).replace("SETTINGS", "")
    facets_of(text)
    with pytest.raises(UserError) as caught:
        drawn(text)
    for part in (message, "is MLTK's own code", "representative_dataset", "--samples FILE.npz", "models/kws.py"):
        assert part in str(caught.value)


# Training


@pytest.mark.slow
@pytest.mark.usefixtures("root")
def test_training_takes_mltk_s_callbacks_and_refuses_what_it_does_not_follow() -> None:
    text = f"""{SPEC}
import tensorflow as tf
def build(model):
    made = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(model.n_classes - 3)])
    made.compile(optimizer=model.optimizer, loss="mse")
    return made
my_model.build_model_function = build
my_model.epochs = -1
my_model.early_stopping = dict(monitor="loss", patience=1, min_delta=1e9)
my_model.train_callbacks = [tf.keras.callbacks.TerminateOnNaN()]
"""
    assert "cannot train" not in facets_of(text)["training"]
    Path("models/kws.py").write_text(text)
    with loaded("models/kws.py") as script:
        history = _fitted(script, Asked(), Path("train"), {}).progress.history
    assert len(history["loss"]) == 2
    for line, message in (
        ("my_model.class_weights = 'balanced'\n", "asks for class_weights, which `doit train` does not follow"),
        ("my_model.early_stopping = None\n", "epochs is -1, but nothing would end the training"),
    ):
        Path("models/kws.py").write_text(text + line)
        with loaded("models/kws.py") as script, pytest.raises(UserError, match=message):
            _fitted(script, Asked(), Path("train"), {})


@pytest.mark.parametrize(
    ("name", "value", "is_followed"),
    [("shuffle", None, True), ("shuffle", True, True), ("shuffle", False, False), ("steps_per_epoch", 3, False)],
)
def test_training_in_an_order_that_is_not_followed_is_refused(name: str, value: Any, *, is_followed: bool) -> None:
    if is_followed:
        assert drawing.callbacks([], {name: value}) == []
    else:
        with pytest.raises(UserError, match=f"asks for {name}, which `doit train` does not follow"):
            drawing.callbacks([], {name: value})


# The build


@pytest.fixture
def kws(project: Project) -> Project:
    """Return a project with one built model whose script is written for MLTK."""
    project.add_model("kws", SPEC)
    run = project.build()
    assert run.code == 0, run.out + run.err
    return project


BUILDER = """

def build(model):
    return [model.batch_size, 1]


my_model.build_model_function = build
"""


def test_what_an_edit_redoes_is_as_precise_as_with_a_model_spec(kws: Project) -> None:
    script = "models/kws.py"
    edits: list[tuple[str, str, set[str]]] = [
        ("SCALE = 1.0", "SCALE = 1.0  # of the data", {"spec"}),
        ("    assert not test", '    """Load."""\n    assert not test', {"spec"}),
        ("epochs = 3", "epochs = 4", {"spec"}),
        ("my_model.epochs = 4", 'my_model.early_stopping = {"patience": 3}\nmy_model.epochs = 4', {"spec"}),
        ("SCALE = 1.0", f"{BUILDER}\nSCALE = 1.0", {"spec"}),
        ("[model.batch_size, 1]", "[model.batch_size, 2]", {"spec"}),
        ("40, 4)", "2 * 20, 4)", {"spec", "sample"}),
        ('"inference_output_type"] = "int8"', '"inference_output_type"] = "float32"', FROM_QUANTIZE),
        ("5.0", "6.0", {"spec", "embed", "archive", "header"}),
        ("SCALE = 1.0", "SCALE = 2.0", ALL),
    ]
    for old, new, redone in edits:
        kws.edit(script, old, new)
        run = kws.build()
        assert set(run.stages) == redone, (new, run.out, run.err)
        assert kws.build().stages == [], new


ALL = {"spec", "sample", "calibrate", "quantize", "verify", "embed", "archive", "header"}
FROM_QUANTIZE = ALL - {"sample", "calibrate"}


def test_a_dataset_that_keeps_state_is_not_drawn_again_and_again(project: Project) -> None:
    project.add_model(
        "kws",
        SPEC.replace("def load(", "class Data(mltk_core.MltkDataset):\n  seen = 0\n  def load_dataset(self, ")
        .replace(
            "    assert",
            "    self.seen += 1\n    self.pools = [1]\n    my_model.class_counts = {subset: {}}\n    assert",
        )
        .replace("my_model.dataset = load", "my_model.dataset = Data()"),
    )
    first = project.build()
    assert first.code == 0, first.out + first.err
    assert project.build().stages == []


def save_samples(project: Project, scale: float) -> None:
    project.path("data").mkdir(exist_ok=True)
    x = np.linspace(-scale, scale, 40, dtype=np.float32).reshape(10, 4)
    np.savez(project.path("data/kws.npz"), x)


TABLE = '\n[tool.doit-tflm.samples]\nkws = "data/kws.npz"\n'


def test_a_file_of_samples_takes_the_place_of_the_data_and_is_an_input(kws: Project) -> None:
    before = kws.path("pyproject.toml").read_text()
    save_samples(kws, 1.0)
    kws.edit("models/kws.py", "my_model.dataset = load", "from mltk.datasets.image import x\nmy_model.dataset = x")
    refused = kws.doit("quantize")
    assert refused.code != 0
    assert "--samples FILE.npz" in refused.out + refused.err
    kws.write("pyproject.toml", before + TABLE)
    run = kws.build()
    assert run.code == 0, run.out + run.err
    assert set(run.stages) == ALL
    assert "samples is now data/kws.npz" in run.why("spec")
    stored = samples.read(kws.path("build/kws/samples.npz"))
    assert (stored.source, stored.arrays["0"].shape) == ("file", (10, 4))
    assert kws.build().stages == []
    save_samples(kws, 2.0)
    assert set(kws.build().stages) == ALL - {"spec"}
    kws.edit("models/kws.py", "volume_db", "volume")
    assert set(kws.build().stages) == {"spec", "embed", "archive", "header"}
    os.utime(kws.path("data/kws.npz"))
    assert kws.build().stages == []


def test_a_file_of_samples_can_be_named_for_one_build(kws: Project) -> None:
    save_samples(kws, 3.0)
    before = kws.outputs()
    plain = quantize(kws, "kws", "--output", "plain.tflite")
    assert "kws: quantize" not in plain.out
    assert "kws: quantize   (samples kws.npz)" in quantize(kws, "kws", "--samples", "data/kws.npz").out
    once = kws.path("build/kws/once.tflite").read_bytes()
    assert once != kws.path("plain.tflite").read_bytes()
    assert {name: content for name, content in kws.outputs().items() if "once" not in name} == before
    # As if the project named it.
    kws.write("pyproject.toml", kws.path("pyproject.toml").read_text() + TABLE)
    kws.build()
    assert kws.path("build/kws/kws.tflite").read_bytes() == once


def test_the_projects_file_of_samples_counts_for_what_is_built_beside_and_for_dry_runs(kws: Project) -> None:
    save_samples(kws, 3.0)
    kws.write("pyproject.toml", kws.path("pyproject.toml").read_text() + TABLE)
    kws.build()
    kws.path("same.h5").write_bytes(archive.read_member(kws.path("models/kws.mltk.zip"), "kws.keras") or b"")
    quantize(kws, "kws", "--weights", "same.h5", "--output", "same.tflite")
    assert kws.path("same.tflite").read_bytes() == kws.path("build/kws/kws.tflite").read_bytes()
    archive.update_members(kws.path("models/kws-test.mltk.zip"), {"kws-test.keras": b"of a dry run"})
    quantize(kws, "kws-test")
    assert samples.read(kws.path("build/kws-test/samples.npz")).source == "file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "is no .npz with arrays of numbers"),
        (None, "data/kws.npz"),
        ({"x": np.array([[np.nan, 1.0]])}, "sample 0 of input x is not finite"),
        ({"x": np.zeros((0, 4))}, "holds no samples"),
        ({"x": np.ones((3, 4)), "y": np.ones((2, 4))}, "differ in their number of samples"),
        ({"x": np.array(["a", "b"])}, "dtype <U1"),
    ],
)
def test_a_file_that_holds_no_samples_is_an_error(project: Project, content: Any, message: str) -> None:
    project.add_model("kws", SPEC)
    project.write("pyproject.toml", project.path("pyproject.toml").read_text() + TABLE)
    project.path("data").mkdir()
    if isinstance(content, bytes):
        project.path("data/kws.npz").write_bytes(content)
    elif content is not None:
        np.savez(project.path("data/kws.npz"), **content)
    run = project.doit("quantize")
    assert run.code != 0
    assert message in run.out + run.err


def test_samples_by_name_and_by_position_are_one_where_there_is_one_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.ones((2, 4), np.float64))
    assert samples.from_file(str(tmp_path / "a.npz")).arrays["0"].dtype == np.float32
    built = samples.Samples("generate", {"0": np.ones((2, 4), np.float32)})
    (tmp_path / "b.npz").write_bytes(samples.serialise(built))
    assert samples.from_file(str(tmp_path / "b.npz")).arrays["0"].shape == (2, 4)


# Archives


def quantize(project: Project, model: str = "models/kws.mltk.zip", *options: str, code: int = 0) -> Run:
    """Run ``doit-tflm quantize``."""
    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm", "quantize", model, *options],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return Run(done.returncode, done.stdout, done.stderr)


def test_an_archive_alone_is_built_by_the_script_in_it_when_it_is_named(
    make_project: Callable[..., Project],
) -> None:
    project = make_project(models=())
    path = project.path("models/kws.mltk.zip")
    path.parent.mkdir()
    archive.update_members(path, {"kws.py": SPEC.encode(), "kws.keras": b"weights"})
    assert project.build().stages == [], "whoever removes a script wants no model of it"
    assert set(quantize(project).stages) == ALL
    assert quantize(project, "kws").stages == []
    assert archive.read_member(path, "kws.py") == SPEC.encode()
    edited = SPEC.replace('"inference_output_type"] = "int8"', '"inference_output_type"] = "uint8"')
    archive.update_members(path, {"kws.py": edited.encode()})
    assert set(quantize(project).stages) == FROM_QUANTIZE
    project.write("build/kws/kws.py", "by hand")
    assert quantize(project).stages == ["spec"]
    assert project.path("build/kws/kws.py").read_text() == edited
    assert not project.path("models/kws.py").exists()


def test_a_dry_run_of_an_archive_alone_takes_the_script_in_it(make_project: Callable[..., Project]) -> None:
    project = make_project(models=())
    path, dry = project.path("models/kws.mltk.zip"), project.path("models/kws-test.mltk.zip")
    path.parent.mkdir()
    archive.update_members(path, {"kws.py": SPEC.encode(), "kws.keras": b"weights"})
    before = path.read_bytes()
    archive.update_members(dry, {"kws-test.keras": b"of a dry run"})
    for model in ("kws-test", "models/kws-test.mltk.zip"):  # which has a script itself the second time
        quantize(project, model)
        assert TfliteModel(archive.read_member(dry, "kws-test.tflite") or b"").parameters["name"] == "kws"
    assert archive.read_member(dry, "kws-test.py") == SPEC.encode()
    assert path.read_bytes() == before


def test_a_script_beside_its_archive_is_taken_before_the_one_in_it(kws: Project) -> None:
    archive.update_members(kws.path("models/kws.mltk.zip"), {"kws.py": b"1 / 0"})
    quantize(kws)
    assert not kws.path("build/kws/kws.py").exists()


@pytest.mark.parametrize("content", [b"no zip", None])
def test_an_archive_without_a_script_is_no_model(
    make_project: Callable[..., Project], content: bytes | None
) -> None:
    project = make_project(models=())
    path = project.path("models/kws.mltk.zip")
    path.parent.mkdir()
    if content:
        path.write_bytes(content)
    else:
        archive.update_members(path, {"kws.keras": b"weights"})
    quantize(project, code=1)


# The guide

GUIDE = (Path(__file__).parent.parent / "docs/mltk.md").read_text()


@pytest.mark.usefixtures("root")
def test_the_script_of_the_guide_is_one() -> None:
    text = GUIDE.split("```python\n")[1].split("```")[0]
    assert drawn(text).shape == (100, 4)


@pytest.mark.parametrize("mixin", [mixin for mixin in ALL_MIXINS if mixin.__name__ not in QUIET])
def test_the_guide_names_every_property_that_may_surprise(mixin: type[Mixin]) -> None:
    for name in mixin.properties:
        prefix = name.partition("_")[0]
        assert f"`{name}`" in GUIDE or f"`{prefix}_...`" in GUIDE, name


# The real thing

REAL = """
import tensorflow as tf

SETTINGS
my_model.version = 3
my_model.description = "one model, two ways"
my_model.classes = ["a", "b", "c"]
my_model.tflite_converter["optimizations"] = [tf.lite.Optimize.DEFAULT]
my_model.tflite_converter["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
my_model.tflite_converter["inference_input_type"] = tf.int8
my_model.tflite_converter["inference_output_type"] = tf.int8
my_model.tflite_converter["representative_dataset"] = "generate"
my_model.model_parameters["volume_db"] = 5.0
my_model.input_shape = (8,)


def load(subset, **_):
    return np.random.default_rng(3).random((30, 8), dtype=np.float32), np.zeros((30, 3), np.float32)


def build(model):
    made = tf.keras.Sequential([tf.keras.Input(model.input_shape), tf.keras.layers.Dense(3, activation="softmax")])
    made.compile(loss="mse")
    return made


my_model.dataset = load
my_model.build_model_function = build
"""


@pytest.mark.slow
def test_a_script_in_mltk_s_style_gives_the_same_model_as_one_with_model_spec(tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3, activation="softmax")])
    model.save(tmp_path / "weights.keras")
    ours = "import numpy as np\nfrom doit_tflm import ModelSpec\n" + REAL.replace(
        "SETTINGS", "my_model = ModelSpec()"
    )
    theirs = HEAD + REAL.replace("SETTINGS", "my_model.batch_size = 16")
    made = []
    for place, spec in (("ours", ours), ("theirs", theirs)):
        project = Project(tmp_path / place)
        project.root.mkdir()
        project.write("dodo.py", DODO)
        project.add_model("one", spec, (tmp_path / "weights.keras").read_bytes())
        run = project.doit("quantize", timeout_s=300)
        assert run.code == 0, run.out + run.err
        made.append(project.path("build/one/one.tflite").read_bytes())
    assert made[0] == made[1]


DATA_DIRECTORY = Path(os.environ.get("DOIT_TFLM_MLTK_DATA", "no-such-directory"))


@pytest.mark.slow
@pytest.mark.skipif(
    not (DATA_DIRECTORY / "image_classification.h5").is_file() or not MODELS.is_dir(),
    reason="DOIT_TFLM_MLTK_DATA and DOIT_TFLM_MLTK_SPECS are not set",
)
def test_an_archive_of_mltk_s_is_quantized_as_its_own_script_says(tmp_path: Path) -> None:
    from doit_tflm import tflite

    project = Project(tmp_path)
    project.write("dodo.py", DODO)
    project.write("pyproject.toml", '[tool.doit-tflm.samples]\nimage_classification = "images.npz"\n')
    images = np.random.default_rng(0).uniform(-1, 1, (20, 32, 32, 3)).astype(np.float32)
    np.savez(project.path("images.npz"), images)
    path = project.path("models/image_classification.mltk.zip")
    path.parent.mkdir()
    members = {
        "image_classification.py": (MODELS / "tinyml/image_classification.py").read_bytes(),
        "image_classification.h5": (DATA_DIRECTORY / "image_classification.h5").read_bytes(),
    }
    archive.update_members(path, members)
    quantize(project, "models/image_classification.mltk.zip")
    read = tflite.read(archive.read_member(path, "image_classification.tflite") or b"")
    assert [read.tensors[i].dtype for i in (*read.inputs, *read.outputs)] == ["int8", "int8"]
    assert read.description == "TinyML: Image classification - ResNetv1-10 with CIFAR10"
    stored = parameters.decode(read.metadata[parameters.METADATA_NAME])
    assert stored["classes"][0] == "airplane"
    assert quantize(project, "image_classification").stages == []


OTHERS = (
    "audiomentations",
    "cv2",
    "librosa",
    "noisereduce",
    "pyloudnorm",
    "tensorflow_model_optimization",
    "tqdm",
)
"""Packages of others that MLTK's scripts import: empty ones where they are missing."""
SCRIPTS = [
    path
    for path in sorted(MODELS.glob("*/*.py"))
    if path.parent.name not in ("shared", "tests") and "MltkModel" in path.read_text(encoding="utf-8")
]
AT_ONCE = {
    "fingerprint_signature_generator": "MLTK's own code",
    "keyword_spotting_on_off_v2": "Have you trained the teacher model first",
    "keyword_spotting_pacman": "MLTK's own code",
    "keyword_spotting_pacman_v2": "Have you trained the teacher model first",
}
"""Scripts that need something as soon as they are loaded, and what the error says of it."""


@pytest.fixture
def others(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the packages of others, where a project's are not, and no network."""
    home = tmp_path_factory.mktemp("home")
    (home / ".packages").mkdir()
    missing = [name for name in OTHERS if importlib.util.find_spec(name) is None]
    for name in missing:
        (home / f".packages/{name}.py").write_text("tqdm = None\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.syspath_prepend(home / ".packages")
    for name in ("mnist", "fashion_mnist", "cifar10"):
        monkeypatch.setattr(f"keras.datasets.{name}.load_data", _no_network)
    yield
    for name in missing:
        sys.modules.pop(name, None)


def _no_network() -> None:
    raise OSError("no network")


@pytest.mark.slow
@pytest.mark.skipif(not MODELS.is_dir(), reason="DOIT_TFLM_MLTK_SPECS names no directory with MLTK's scripts")
@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_of_mltk_s_loads_and_says_what_it_cannot_draw(root: Path, path: Path) -> None:
    import tensorflow as tf  # noqa: F401 - as in the worker, where an earlier job has imported it

    name = f"models/{path.name}"
    (root / name).write_bytes(path.read_bytes())
    if path.stem in AT_ONCE:
        with pytest.raises(UserError, match=AT_ONCE[path.stem]), loaded(name):
            pass
        return
    with loaded(name) as script:
        found = facets.facets(script)
        assert found["parameters"]["parameters"]["name"] == path.stem
        assert facets.facets(script) == found
        with pytest.raises(UserError) as caught:
            samples.draw(script, found["calibration"]["source"], 10)
        # With a file of samples, nothing of that is needed.
        assert facets.facets(script, "x.npz")["calibration"] == {"source": "file", "file": "x.npz"}
    print(f"{path.stem}: {found['converter']}, {caught.value.what}")
    assert "MLTK's own code" in str(caught.value) or "no network" in str(caught.value)
