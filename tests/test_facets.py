"""Facets: which edit of a specification changes which of them, and nothing of the machine in any."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from doit_tflm.config import FACETS
from doit_tflm.errors import UserError
from doit_tflm.facets import canonical_json, facets, typed_parameters
from doit_tflm.parameters import Typed, decode_typed, encode
from doit_tflm.script import loaded

SPEC = """\
import os
from pathlib import Path

from doit_tflm import ModelSpec, Typed
from helpers import scale

HERE = Path(__file__).parent

spec = ModelSpec(version=1, description="a model", classes=["no", "yes"])
spec.tflite_converter["inference_input_type"] = "int8"
spec.model_parameters["rate"] = 16000
spec.data_files = ["data/*.csv"]
spec.loss = "mse"


def load(subset):
    return scale(3), HERE, os.path.abspath("data")


def build(which):
    return len(which.classes)


spec.dataset = load
spec.build_model_function = build
"""
HELPERS = """\
def scale(n):
    return n * 2
"""

Take = Callable[..., dict[str, dict[str, Any]]]


def take_here(spec: str = SPEC, helpers: str = HELPERS, data: str = "1,2\n") -> dict[str, dict[str, Any]]:
    """Return the facets of a script in the current directory."""
    for path, text in {"models/kws.py": spec, "helpers.py": helpers, "data/a.csv": data}.items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    with loaded("models/kws.py") as script:
        return facets(script)


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Return `take_here` in an empty project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", cache(importlib.metadata.packages_distributions)
    )
    return take_here


def edited(old: str, new: str) -> str:
    assert SPEC.count(old) == 1
    return SPEC.replace(old, new)


def changed(take: Take, *arguments: str, first: dict[str, Any] | None = None, **more: str) -> list[str]:
    """Return the facets that an edit changes."""
    before = first or take()
    after = take(*arguments, **more)
    return [name for name in FACETS if before[name] != after[name]]


def set_to(line: str) -> str:
    """Return the script with a line at its end."""
    return f"{SPEC}{line}\n"


DRAWING = ["calibration", "evaluation", "training"]
EDITS = {
    "nothing": ("", []),
    "a comment": ("# a comment", []),
    "description": ("spec.description = 'other'", ["parameters"]),
    "version": ("spec.version = 2", ["parameters"]),
    "a parameter": ("spec.model_parameters['rate'] = 8000", ["parameters"]),
    "a parameter's type": ("spec.model_parameters['rate'] = Typed('int64', 16000)", ["parameters"]),
    "a new parameter": ("spec.model_parameters['gain'] = 1.5", ["parameters"]),
    "classes, which the builder mentions": (
        "spec.classes.append('maybe')",
        ["evaluation", "parameters", "training"],
    ),
    "input type": ("spec.tflite_converter['inference_input_type'] = 'uint8'", ["converter"]),
    "output type": ("spec.tflite_converter['inference_output_type'] = 'int8'", ["converter"]),
    "float fallback": ("spec.tflite_converter['supported_ops'] += ['TFLITE_BUILTINS']", ["converter"]),
    "allow_custom_ops": ("spec.tflite_converter['allow_custom_ops'] = True", ["graph"]),
    "resource variables": ("spec.tflite_converter['experimental_enable_resource_variables'] = False", ["graph"]),
    "weights": ("spec.weights = 'kws.h5'", ["graph"]),
    "input_shape": ("spec.input_shape = (4,)", ["graph"]),
    "max_samples": ("spec.tflite_converter['representative_dataset_max_samples'] = 9", ["calibration"]),
    "generate_unquantized": ("spec.tflite_converter['generate_unquantized'] = True", ["report"]),
    "generate_quantization_report": ("spec.tflite_converter['generate_quantization_report'] = True", ["report"]),
    "epochs": ("spec.epochs = 7", ["training"]),
    "batch_size": ("spec.batch_size = 7", ["training"]),
    "optimizer": ("spec.optimizer = 'sgd'", ["training"]),
    "loss": ("spec.loss = 'mae'", ["training"]),
    "metrics": ("spec.metrics = ['mae']", ["training"]),
    "callbacks": ("spec.train_callbacks = lambda: []", ["training"]),
    "checkpoint": ("spec.checkpoint['monitor'] = 'val_loss'", ["training"]),
    "early_stopping": ("spec.early_stopping = {'patience': 3}", ["training"]),
    "reduce_lr_on_plateau": ("spec.reduce_lr_on_plateau = {'factor': 0.5}", ["training"]),
    "lr_schedule": ("spec.lr_schedule = lambda epoch, rate: rate", ["training"]),
    "tensorboard": ("spec.tensorboard = {'histogram_freq': 1}", []),
    "checkpoints_enabled": ("spec.checkpoints_enabled = False", []),
    "on_training_complete": ("spec.on_training_complete = print", []),
    "the builder": ("spec.build_model_function = lambda which: 3", ["training"]),
    "seed": ("spec.seed = 3", ["calibration", "evaluation", "training"]),
    "the dataset": ("spec.dataset = lambda subset: 3", ["calibration", "evaluation", "training"]),
    "a generator function": (
        "spec.tflite_converter['representative_dataset'] = lambda: iter([])",
        ["calibration"],
    ),
    "data_files": ("spec.data_files.append('data/a*')", []),
    "array name": ("spec.header.array_name = 'g_kws'", ["header"]),
    "section": ("spec.header.section = '.model'", ["header"]),
    "form": ("spec.header.form = 'incbin'", ["header"]),
    "alignment": ("spec.header.alignment = 32", ["header"]),
    "attributes": ("spec.header.attributes = '__attribute__((used))'", ["header"]),
    "evaluate_as": ("spec.evaluate_as = 'regressor'", ["evaluation", "parameters"]),
    "max_accuracy_drop": ("spec.max_accuracy_drop = 0.01", ["limits"]),
    "arena margin": ("spec.arena_margin = 0.2", ["limits"]),
    "max_arena_bytes": ("spec.max_arena_bytes = 4096", ["limits"]),
    "max_flash_bytes": ("spec.max_flash_bytes = 4096", ["limits"]),
    "max_macs": ("spec.max_macs = 4096", ["limits"]),
    "golden vectors": ("spec.golden_vectors = 0", ["verify"]),
    "verify": ("spec.verify = False", ["verify"]),
    "directory": ("spec.header.directory = 'fw'", ["header"]),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_changes_the_facets_that_read_it_and_no_other(take: Take, edit: str) -> None:
    line, expected = EDITS[edit]
    assert changed(take, set_to(line)) == expected


def test_the_facets_are_those_that_the_stages_know(take: Take) -> None:
    assert sorted(take()) == sorted(FACETS)


def test_the_dataset_s_code_and_what_it_uses_change_all_that_draw_from_it(take: Take) -> None:
    first = take()
    assert changed(take, edited("scale(3)", "scale(4)"), first=first) == DRAWING
    assert changed(take, helpers=HELPERS.replace("n * 2", "n * 3"), first=first) == DRAWING
    assert changed(take, helpers=f"# doubled\n{HELPERS}", first=first) == []


def test_a_data_file_s_content_changes_calibration_and_its_date_does_not(take: Take) -> None:
    first = take()
    assert changed(take, data="1,3\n", first=first) == ["calibration", "evaluation"]
    assert changed(take, data="1,2\n", first=first) == []
    assert list(first["calibration"]["data files"]) == ["data/a.csv"]


def test_a_generator_function_s_code_changes_calibration_only(take: Take) -> None:
    line = "spec.tflite_converter['representative_dataset'] = lambda: iter([{}])"
    first = take(set_to(line.format(1)))
    assert changed(take, set_to(line.format(2)), first=first) == ["calibration"]
    limited = f"{line.format(1)}\nspec.tflite_converter['representative_dataset_max_samples'] = 9"
    assert changed(take, set_to(limited), first=first) == []
    assert first["calibration"]["source"] == "function"


def test_for_16x8_everything_is_in_the_graph(take: Take) -> None:
    ops = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
    lines = f"spec.tflite_converter['supported_ops'] = ['{ops}']\nspec.tflite_converter['inference_input_type'] = "
    first = take(set_to(f"{lines}'int16'"))
    assert first["graph"]["mode"] == first["converter"]["mode"] == "oneshot"
    assert first["graph"]["inference_input_type"] == "int16"
    assert first["graph"]["supported_ops"] == [ops]
    assert changed(take, set_to(f"{lines}'float32'"), first=first) == ["converter", "graph"]


def test_a_float_model_has_no_calibration(take: Take) -> None:
    lines = [
        "spec.tflite_converter['optimizations'] = []",
        "spec.tflite_converter['supported_ops'] = ['TFLITE_BUILTINS']",
        "spec.tflite_converter['inference_input_type'] = 'float32'",
    ]
    first = take(set_to("\n".join(lines)))
    assert first["calibration"] == {"source": "none"}
    assert first["graph"]["supported_ops"] == ["TFLITE_BUILTINS"]
    assert changed(take, set_to("\n".join([*lines, "spec.dataset = lambda s: 5"])), first=first) == [
        "evaluation",
        "training",
    ]
    assert changed(take, set_to("\n".join([*lines, "spec.dataset = None"])), first=first) == [
        "evaluation",
        "training",
    ]


def test_every_spelling_of_a_setting_gives_the_same_facets(take: Take) -> None:
    assert changed(take, edited('= "int8"', "= __import__('numpy').int8")) == []
    assert changed(take, set_to("spec.header.directory = ''")) == []
    first = take(set_to("spec.header.directory = 'fw'; spec.weights = 'w.h5'"))
    spelled = "spec.header.directory = os.path.abspath('fw'); spec.weights = './x/../w.h5'"
    assert changed(take, set_to(spelled), first=first) == []


# Canonical JSON


def test_facets_are_canonical_json_without_a_path_of_the_machine(take: Take) -> None:
    lines = [
        "spec.weights = os.path.abspath('w.h5')",
        "spec.header.directory = os.path.abspath('fw')",
        "spec.data_files = [os.path.abspath('data/*.csv')]",
        "spec.train_callbacks = [open(__file__)]",
    ]
    for text in (SPEC, set_to("\n".join(lines))):
        found = take(text)
        for facet in found.values():
            content = canonical_json(facet)
            assert json.loads(content) == facet
            assert canonical_json(json.loads(content)) == content
            assert os.getcwd().encode() not in content
            assert content.endswith(b"}\n")
    assert found["graph"]["weights"] == "w.h5"
    assert found["header"]["directory"] == "fw"


def test_the_same_project_in_two_directories_has_the_same_facets(
    take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = take()
    (tmp_path / "elsewhere" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere" / "b")
    assert take() == first


def test_canonical_json_sorts_keys_and_keeps_words_readable() -> None:
    assert canonical_json({"b": [1, 2], "a": "größer"}).decode() == (
        '{\n  "a": "größer",\n  "b": [\n    1,\n    2\n  ]\n}\n'
    )


# Parameters

VALUES = """
import numpy as np
spec.model_parameters.update(
    a=True, b=3, c=2**40, d=1.5, e="größer", f=b"\\x00\\xff", g=["x"], h=[1, 2], i=[1.5], j=Typed("double", 0.1),
    k=np.float32(0.5), m=Typed("int8", -1),
)
"""


def test_parameters_come_back_from_their_facet_with_their_types(take: Take) -> None:
    facet = json.loads(canonical_json(take(set_to(VALUES))["parameters"]))
    typed = typed_parameters(facet)
    assert typed["name"] == Typed("str", "kws")
    assert typed["version"] == Typed("int32", 1)
    assert typed["classes"] == Typed("str_list", ["no", "yes"])
    assert typed["f"] == Typed("bin", b"\x00\xff")
    assert typed["j"] == Typed("double", 0.1)
    assert {key: typed[key].type for key in "abcdeghikm"} == {
        "a": "bool",
        "b": "int32",
        "c": "int64",
        "d": "float",
        "e": "str",
        "g": "str_list",
        "h": "int32_list",
        "i": "float_list",
        "k": "float",
        "m": "int8",
    }
    assert decode_typed(encode(typed)) == typed


@pytest.mark.parametrize("key", ["name", "version", "classes", "hash", "date"])
def test_a_parameter_that_the_build_writes_is_refused(take: Take, key: str) -> None:
    with pytest.raises(UserError, match=rf"models/kws.py: model_parameters\['{key}'\] is written by the build"):
        take(set_to(f"spec.model_parameters['{key}'] = 'x'"))


# Errors


def test_data_files_that_match_nothing_are_refused(take: Take) -> None:
    with pytest.raises(
        UserError, match=r"models/kws.py: data_files: nothing matches 'data/\*.wav'; mend the glob"
    ):
        take(edited("data/*.csv", "data/*.wav"))


def test_data_files_of_every_depth_are_found(take: Take) -> None:
    Path("data/deep/er").mkdir(parents=True)
    Path("data/deep/er/b.csv").touch()
    found = take(edited("data/*.csv", "data/**/*.csv"))["calibration"]["data files"]
    assert list(found) == ["data/a.csv", "data/deep/er/b.csv"]


def test_generate_without_a_dataset_is_refused(take: Take) -> None:
    with pytest.raises(UserError, match="the spec has no dataset to draw from; set dataset, give a generator"):
        take(set_to("spec.dataset = None"))


def test_settings_that_cannot_be_had_together_are_refused_with_the_script_s_name(take: Take) -> None:
    with pytest.raises(UserError, match=r"models/kws.py: tflite_converter\['inference_input_type'\] is int16"):
        take(set_to("spec.tflite_converter['inference_input_type'] = 'int16'"))


def test_a_dataset_that_cannot_be_fingerprinted_is_refused(take: Take) -> None:
    text = "LOCK = __import__('threading').Lock()\nspec.dataset = lambda s: LOCK"
    with pytest.raises(UserError, match=r"models/kws.py: .*LOCK uses an object of _thread.lock"):
        take(set_to(text))


def test_training_code_that_cannot_be_fingerprinted_hinders_training_only(take: Take) -> None:
    first = take()
    text = set_to("LOCK = __import__('threading').Lock()\nspec.build_model_function = lambda s: LOCK")
    assert changed(take, text, first=first) == ["training"]
    assert "LOCK uses an object of _thread.lock" in take(text)["training"]["cannot train"]


def test_the_packages_that_the_dataset_uses_are_in_calibration_with_their_versions(take: Take) -> None:
    import numpy as np

    text = set_to("import numpy as np\nspec.dataset = lambda subset: np.ones(3)")
    assert take(text)["calibration"]["packages"] == {"numpy": np.__version__}
