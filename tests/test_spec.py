"""`ModelSpec`: its attributes, each checked when it is set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from doit_tflm.errors import UserError
from doit_tflm.settings import ConverterSettings
from doit_tflm.spec import CURRENT_NAME, HeaderSettings, ModelSpec, attribute_names


def function(*_: Any) -> None:
    return None


GOOD: dict[str, Any] = {
    "version": 7,
    "description": "keyword spotting",
    "classes": ["no", "yes"],
    "dataset": function,
    "build_model_function": function,
    "on_quantize_complete": function,
    "data_files": ["data/*.csv"],
    "input_shape": (49, 40, 1),
    "weights": "weights/kws.keras",
    "epochs": 3,
    "batch_size": 8,
    "optimizer": "sgd",
    "loss": function,
    "metrics": ["accuracy"],
    "train_callbacks": function,
    "checkpoint": {"monitor": "val_loss", "save_best_only": True},
    "checkpoints_enabled": False,
    "early_stopping": {"patience": 3, "baseline": None},
    "reduce_lr_on_plateau": {"factor": 0.5, "min_lr": 1e-5},
    "lr_schedule": {"schedule": function},
    "tensorboard": {"histogram_freq": 1},
    "on_training_complete": function,
    "seed": 4,
    "evaluate_as": "classifier",
    "max_accuracy_drop": 0.02,
    "verify": False,
    "golden_vectors": 5,
    "arena_margin": 0.25,
    "max_arena_bytes": 20_000,
    "max_flash_bytes": 100_000,
    "max_macs": 1_000_000,
    "header": HeaderSettings(section=".model"),
    "tflite_converter": {"inference_input_type": "int8"},
    "model_parameters": {"volume_db": 5.0},
}


def test_every_attribute_has_an_example_here() -> None:
    assert sorted(GOOD) == sorted(attribute_names())


@pytest.mark.parametrize("key", sorted(GOOD))
def test_an_attribute_can_be_given_or_set(key: str) -> None:
    given = ModelSpec(**{key: GOOD[key]})
    later = ModelSpec()
    setattr(later, key, GOOD[key])
    for spec in (given, later):
        value = getattr(spec, key)
        if key == "tflite_converter":
            assert isinstance(value, ConverterSettings)
            assert value["inference_input_type"] == "int8"
        else:
            assert value == GOOD[key]


def test_the_defaults_are_empty_and_belong_to_one_spec_only() -> None:
    first, second = ModelSpec(), ModelSpec()
    first.classes.append("yes")
    first.data_files.append("*.csv")
    first.metrics.append("accuracy")
    first.model_parameters["a"] = 1
    first.tflite_converter["inference_input_type"] = "int8"
    first.header.section = ".model"
    first.checkpoint["monitor"] = "val_loss"
    assert not second.checkpoint
    assert (second.version, second.description, second.dataset, second.input_shape) == (1, "", None, None)
    assert (second.classes, second.data_files, second.metrics, second.model_parameters) == ([], [], [], {})
    assert second.tflite_converter["inference_input_type"] == "float32"
    assert second.header == HeaderSettings("", "", "", form="pair", alignment=16, attributes="")


def test_the_name_is_the_running_script_s_and_cannot_be_set() -> None:
    token = CURRENT_NAME.set("kws")
    try:
        spec = ModelSpec()
    finally:
        CURRENT_NAME.reset(token)
    assert spec.name == "kws"
    with pytest.raises(UserError, match="name cannot be set; rename the script"):
        spec.name = "other"


def test_a_spec_that_no_script_makes_can_be_given_a_name_once() -> None:
    spec = ModelSpec(name="kws")
    assert spec.name == "kws"
    with pytest.raises(UserError, match="name cannot be set"):
        spec.name = "other"
    with pytest.raises(UserError, match="name is 3, but must be a string"):
        ModelSpec(name=3)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("clases", "classes"),
        ("data_set", "dataset"),
        ("epoch", "epochs"),
        ("build_model", "build_model_function"),
        ("tflite_convertor", "tflite_converter"),
        ("model_parameter", "model_parameters"),
        ("data_file", "data_files"),
    ],
)
def test_a_misspelt_attribute_is_an_error_that_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UserError, match=f"no attribute '{wrong}'; did you mean '{right}'\\?"):
        ModelSpec(**{wrong: 1})
    with pytest.raises(UserError, match=f"did you mean '{right}'"):
        setattr(ModelSpec(), wrong, 1)


def test_an_attribute_like_no_other_is_an_error_that_says_where_to_keep_it() -> None:
    with pytest.raises(UserError, match="keep values of your own in module variables"):
        ModelSpec().zzz = 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("version", "1", "a whole number"),
        ("version", True, "a whole number"),
        ("version", 1.5, "a whole number"),
        ("version", None, "a whole number"),
        ("description", None, "a string"),
        ("description", b"bytes", "a string"),
        ("classes", "yes", "a list of strings"),
        ("classes", [1, 2], "write '1'"),
        ("classes", {"yes": 1}, "a list of strings"),
        ("dataset", [1, 2], "without calling it"),
        ("dataset", "load", "without calling it"),
        ("build_model_function", 3, "without calling it"),
        ("data_files", "data/*.csv", "a list of file names"),
        ("data_files", [3], "write '3'"),
        ("input_shape", 49, "whole numbers without the batch"),
        ("input_shape", "49", "whole numbers without the batch"),
        ("input_shape", (None, 49), "whole numbers without the batch"),
        ("input_shape", (4.5,), "whole numbers without the batch"),
        ("weights", None, "a path"),
        ("weights", ["a.h5"], "a path"),
        ("epochs", 0, "use 1 or more"),
        ("epochs", -2, "use 1 or more"),
        ("on_training_complete", "done", "without calling it"),
        ("epochs", 2.5, "a whole number"),
        ("batch_size", -1, "use 1 or more"),
        ("batch_size", "32", "a whole number"),
        ("metrics", "accuracy", "a list"),
        ("seed", "0", "a whole number"),
        ("header", {"section": ".model"}, "header.section"),
        ("header", ".model", "header.section"),
        ("tflite_converter", None, "use a dict"),
        ("tflite_converter", [1], "use a dict"),
        ("model_parameters", 3, "use a dict"),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_and_is_not_set(key: str, value: Any, fix: str) -> None:
    spec = ModelSpec()
    before = getattr(spec, key)
    with pytest.raises(UserError, match=f"{key}.*{fix}"):
        setattr(spec, key, value)
    assert getattr(spec, key) is before


def test_shapes_and_labels_are_kept_as_plain_tuple_and_list() -> None:
    spec = ModelSpec(input_shape=[np.int64(49), 40], classes=("no", "yes"))
    assert spec.input_shape == (49, 40)
    assert [type(size) for size in spec.input_shape] == [int, int]
    assert spec.classes == ["no", "yes"]
    spec.input_shape = None
    assert spec.input_shape is None


def test_settings_given_as_a_dict_are_as_strict_as_the_mapping() -> None:
    with pytest.raises(UserError, match="inference_input_type"):
        ModelSpec(tflite_converter={"inference_input_type": "int9"})


def test_one_spec_s_settings_can_be_another_s_start() -> None:
    first = ModelSpec(tflite_converter={"inference_input_type": "int8"}, model_parameters={"a": 1})
    second = ModelSpec(tflite_converter=first.tflite_converter, model_parameters=first.model_parameters)
    second.tflite_converter["inference_input_type"] = "uint8"
    second.model_parameters["a"] = 2
    assert first.tflite_converter["inference_input_type"] == "int8"
    assert first.model_parameters == {"a": 1}


def test_the_header_s_attributes_are_strict_as_well() -> None:
    spec = ModelSpec()
    with pytest.raises(UserError, match="header has no attribute 'sectoin'; use section"):
        spec.header.sectoin = ".model"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="header has no attribute 'zzz'; use array_name, section, directory"):
        spec.header.zzz = ".model"  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"header.array_name is 3, but must be a string"):
        spec.header.array_name = 3  # type: ignore[assignment]
    with pytest.raises(UserError, match=r"header\.directory is None"):
        HeaderSettings(directory=None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"header\.form is True, but must be a string"):
        spec.header.form = True  # type: ignore[assignment]
    for value in ("64", 64.0, True):
        with pytest.raises(UserError, match=r"header\.alignment is .*, but must be a whole number"):
            spec.header.alignment = value  # type: ignore[assignment]
