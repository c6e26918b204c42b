"""The converter's settings: a strict mapping, and the combinations that TFLM can run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm import settings as settings_module
from doit_tflm.errors import UserError
from doit_tflm.settings import FLOAT_OPS, INT8_OPS, INT16X8_OPS, ConverterSettings

TENSORFLOW = {"unfold_batchmatmul", "supported_types", "inference_type", "experimental_select_user_tf_ops"}
DEFAULTS = {
    "optimizations": ["DEFAULT"],
    "supported_ops": [INT8_OPS],
    "inference_input_type": "float32",
    "inference_output_type": "float32",
    "representative_dataset": "generate",
    "representative_dataset_max_samples": 1000,
    "allow_custom_ops": False,
    "experimental_new_converter": True,
    "experimental_new_quantizer": True,
    "experimental_enable_resource_variables": True,
    "generate_unquantized": False,
    "generate_quantization_report": False,
}


@pytest.fixture
def no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take some attributes for those that TensorFlow has, without asking it."""
    monkeypatch.setattr(settings_module, "_tensorflow_attributes", lambda: TENSORFLOW)


def checked(**values: Any) -> ConverterSettings:
    settings = ConverterSettings(values)
    settings.check()
    return settings


def samples() -> list[Any]:
    return []


def test_the_defaults_are_those_of_mltk() -> None:
    settings = checked()
    assert settings.canonical() == DEFAULTS
    assert dict(settings) == DEFAULTS
    assert settings.mode == "int8"


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("inference_input_typ", "inference_input_type"),
        ("infrence_output_type", "inference_output_type"),
        ("optimisations", "optimizations"),
        ("supported_op", "supported_ops"),
        ("representative_data", "representative_dataset"),
        ("allow_custom_op", "allow_custom_ops"),
        ("unfold_batch_matmul", "unfold_batchmatmul"),
    ],
)
def test_an_unknown_key_is_an_error_that_names_the_nearest(wrong: str, right: str) -> None:
    settings = ConverterSettings()
    with pytest.raises(UserError, match=rf"tflite_converter\['{wrong}'\].*did you mean '{right}'\?"):
        settings[wrong] = None
    with pytest.raises(UserError, match=f"did you mean '{right}'"):
        _ = settings[wrong]
    with pytest.raises(UserError, match=f"did you mean '{right}'"):
        ConverterSettings({wrong: 1})
    assert settings.canonical() == DEFAULTS


@pytest.mark.usefixtures("no_tensorflow")
def test_a_key_like_no_other_is_an_error_that_says_where_the_keys_are() -> None:
    with pytest.raises(UserError, match="is not a setting of the converter; use one of optimizations"):
        ConverterSettings()["zzz"] = 1


@pytest.mark.usefixtures("no_tensorflow")
def test_a_setting_of_tensorflow_s_that_has_no_value_is_a_missing_key() -> None:
    settings = ConverterSettings()
    assert "supported_types" not in settings
    assert settings.get("supported_types", ()) == ()
    with pytest.raises(KeyError):
        _ = settings["unfold_batchmatmul"]


@pytest.mark.parametrize("key", ["inference_input_type", "inference_output_type"])
@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "float32"])
def test_types_and_their_names_are_equal(key: str, name: str) -> None:
    scalar = getattr(np, name)
    for spelling in (name, scalar, np.dtype(name)):
        assert ConverterSettings({key: spelling}).canonical()[key] == name


def test_none_and_python_s_float_are_float32() -> None:
    for spelling in (None, float, np.float32):
        settings = ConverterSettings({"inference_input_type": spelling})
        assert settings.canonical()["inference_input_type"] == "float32"


def test_a_value_comes_back_as_it_was_set() -> None:
    assert ConverterSettings({"inference_input_type": np.int8})["inference_input_type"] is np.int8


@given(st.permutations([INT8_OPS, FLOAT_OPS]), st.sampled_from([list, tuple, set]))
def test_the_order_and_kind_of_a_list_of_ops_do_not_count(ops: list[str], kind: type) -> None:
    settings = ConverterSettings({"supported_ops": kind([*ops, ops[0]])})
    assert settings.canonical()["supported_ops"] == [FLOAT_OPS, INT8_OPS]


def test_the_old_names_of_the_optimization_are_the_default_one() -> None:
    settings = ConverterSettings({"optimizations": ["OPTIMIZE_FOR_SIZE", "OPTIMIZE_FOR_LATENCY"]})
    assert settings.canonical()["optimizations"] == ["DEFAULT"]


@pytest.mark.parametrize(
    ("key", "value", "fix"),
    [
        ("inference_input_type", "int9", "use int8, uint8, int16, float32"),
        ("inference_input_type", "INT8", "use int8"),
        ("inference_output_type", np.float64, "use int8"),
        ("inference_output_type", 8, "use int8"),
        ("inference_output_type", ["int8"], "use int8"),
        ("optimizations", "DEFAULT", r"write \['DEFAULT'\]"),
        ("optimizations", None, r"write \[None\]"),
        ("optimizations", ["FAST"], "use some of DEFAULT"),
        ("supported_ops", INT8_OPS, rf"write \['{INT8_OPS}'\]"),
        ("supported_ops", ["INT8"], "use some of TFLITE_BUILTINS"),
        ("supported_ops", [[INT8_OPS]], "use some of TFLITE_BUILTINS"),
        ("supported_ops", [3], "use some of TFLITE_BUILTINS"),
        ("representative_dataset", "generated", "without calling it"),
        ("representative_dataset", [1, 2], "without calling it"),
        ("representative_dataset", (n for n in range(3)), "without calling it"),
        ("representative_dataset_max_samples", 0, "use 100 to 1000"),
        ("representative_dataset_max_samples", 12.5, "use 100 to 1000"),
        ("representative_dataset_max_samples", "100", "use 100 to 1000"),
        ("representative_dataset_max_samples", True, "use 100 to 1000"),
        ("allow_custom_ops", 1, "use True or False"),
        ("allow_custom_ops", "yes", "use True or False"),
        ("experimental_new_converter", None, "use True or False"),
        ("experimental_new_quantizer", 0, "use True or False"),
        ("experimental_enable_resource_variables", "", "use True or False"),
        ("generate_unquantized", [], "use True or False"),
        ("generate_quantization_report", 1.0, "use True or False"),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_and_is_not_set(key: str, value: Any, fix: str) -> None:
    settings = ConverterSettings()
    with pytest.raises(UserError, match=rf"tflite_converter\['{key}'\].*{fix}"):
        settings[key] = value
    assert settings.canonical() == DEFAULTS


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("value", ["int8", None, 3])
def test_supported_types_must_be_a_list(value: Any) -> None:
    with pytest.raises(UserError, match=r"supported_types.*is not a list"):
        ConverterSettings({"supported_types": value})


@pytest.mark.usefixtures("no_tensorflow")
def test_an_object_that_cannot_be_compared_is_no_setting() -> None:
    with pytest.raises(UserError, match=r"unfold_batchmatmul.*is a object"):
        ConverterSettings({"unfold_batchmatmul": object()})


def test_the_representative_dataset_is_a_keyword_a_function_or_nothing() -> None:
    for value, canonical in (("generate", "generate"), (samples, "function"), (None, None)):
        settings = ConverterSettings({"representative_dataset": value})
        assert settings.canonical()["representative_dataset"] == canonical


def test_deleting_a_setting_puts_its_default_back() -> None:
    settings = ConverterSettings({"inference_input_type": "int8"})
    del settings["inference_input_type"]
    assert settings.canonical() == DEFAULTS


def test_adding_to_a_default_list_counts_and_stays_with_its_specification() -> None:
    settings = ConverterSettings()
    settings["supported_ops"] += [FLOAT_OPS]
    settings["optimizations"].clear()
    assert settings.canonical()["supported_ops"] == [FLOAT_OPS, INT8_OPS]
    assert settings.mode == "float"
    assert ConverterSettings().canonical() == DEFAULTS
    del settings["optimizations"]
    assert settings.canonical()["optimizations"] == ["DEFAULT"]


def test_the_length_and_the_text_of_settings_are_a_mapping_s() -> None:
    settings = ConverterSettings({"inference_input_type": "int8"})
    assert len(settings) == len(DEFAULTS)
    assert "'inference_input_type': 'int8'" in repr(settings)


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({}, "int8"),
        ({"inference_input_type": "int8", "inference_output_type": "uint8"}, "int8"),
        ({"supported_ops": [INT8_OPS, FLOAT_OPS]}, "int8"),
        ({"supported_ops": [FLOAT_OPS]}, "int8"),
        ({"representative_dataset": samples}, "int8"),
        ({"experimental_new_quantizer": False}, "oneshot"),
        ({"supported_ops": [INT16X8_OPS]}, "oneshot"),
        ({"supported_ops": [INT16X8_OPS, FLOAT_OPS], "inference_input_type": "int16"}, "oneshot"),
        ({"optimizations": [], "supported_ops": [FLOAT_OPS]}, "float"),
        ({"optimizations": [], "supported_ops": [FLOAT_OPS], "representative_dataset": None}, "float"),
    ],
)
def test_the_combinations_that_tflm_runs_are_accepted(values: dict[str, Any], mode: str) -> None:
    assert checked(**values).mode == mode


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"optimizations": [], "supported_ops": [FLOAT_OPS], "inference_input_type": "uint8"},
            r"\['inference_input_type'\] is uint8, which a float model does not have; use float32",
        ),
        (
            {"optimizations": [], "supported_ops": [FLOAT_OPS], "inference_output_type": "uint8"},
            r"\['inference_output_type'\] is uint8, which a float model does not have; use float32",
        ),
        (
            {"optimizations": [], "inference_input_type": "uint8"},
            r"\['optimizations'\] is empty, but supported_ops \['TFLITE_BUILTINS_INT8'\] asks for integer",
        ),
        (
            {"representative_dataset": None},
            r"\['representative_dataset'\] is None, but TFLITE_BUILTINS_INT8 needs samples.*use \"generate\"",
        ),
        (
            {"representative_dataset": None, "supported_ops": [INT16X8_OPS]},
            r"\['representative_dataset'\] is None, but EXPERIMENTAL.* needs samples.*use \"generate\"",
        ),
        (
            {"representative_dataset": None, "supported_ops": [FLOAT_OPS]},
            r"\['optimizations'\].*dynamic range quantization.*TFLM does not run; set representative_dataset",
        ),
        (
            {"supported_ops": [INT16X8_OPS], "inference_input_type": "int8"},
            r"\['inference_input_type'\] is int8, which 16x8 quantization does not have; use int16 or float32",
        ),
        (
            {"supported_ops": [INT16X8_OPS], "inference_output_type": "uint8"},
            r"\['inference_output_type'\] is uint8, which 16x8 quantization does not have; use int16",
        ),
        (
            {"inference_input_type": "int16"},
            r"\['inference_input_type'\] is int16, which int8 quantization does not have; use int8 or uint8",
        ),
        ({"supported_ops": [INT8_OPS, INT16X8_OPS]}, r"\['supported_ops'\] holds both.*; choose one of the two"),
        ({"supported_ops": []}, r"\['supported_ops'\] is empty; use \[TFLITE_BUILTINS_INT8\]"),
    ],
)
def test_a_combination_that_tflm_cannot_run_is_one_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        checked(**values)


@pytest.mark.parametrize("name", ["SELECT_TF_OPS", "EXPERIMENTAL_STABLEHLO_OPS"])
def test_ops_that_tflm_has_no_kernels_for_are_refused(name: str) -> None:
    message = rf"\['supported_ops'\] holds {name}, but TFLM has no .* kernels.*; leave {name} out"
    with pytest.raises(UserError, match=message):
        ConverterSettings({"supported_ops": [FLOAT_OPS, name]})


@pytest.mark.usefixtures("no_tensorflow")
@pytest.mark.parametrize("kind", ["float16", np.float16, "bfloat16"])
def test_half_precision_is_refused(kind: Any) -> None:
    with pytest.raises(UserError, match=r"\['supported_types'\] asks for float16.*; leave it out"):
        ConverterSettings({"supported_types": [kind]})


@pytest.mark.slow
def test_tensorflow_s_members_and_their_names_are_equal() -> None:
    import tensorflow as tf

    spelled = ConverterSettings(
        {
            "optimizations": {tf.lite.Optimize.DEFAULT},
            "supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, "TFLITE_BUILTINS"],
            "inference_input_type": tf.int8,
            "inference_output_type": tf.uint8,
            "supported_types": [tf.int8],
        }
    )
    named = ConverterSettings(
        {
            "optimizations": ["DEFAULT"],
            "supported_ops": [FLOAT_OPS, INT8_OPS],
            "inference_input_type": "int8",
            "inference_output_type": np.uint8,
            "supported_types": [np.dtype("int8")],
        }
    )
    assert spelled.canonical() == named.canonical()
    with pytest.raises(UserError, match="float16"):
        ConverterSettings({"supported_types": [tf.float16]})
    with pytest.raises(UserError, match="TFLM has no TensorFlow kernels"):
        ConverterSettings({"supported_ops": [tf.lite.OpsSet.SELECT_TF_OPS]})


@pytest.mark.slow
def test_every_attribute_of_tensorflow_s_converter_is_a_setting() -> None:
    import tensorflow as tf

    function = tf.function(tf.identity).get_concrete_function(tf.TensorSpec([1], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    attributes = {**vars(converter), **vars(converter.target_spec)}
    public = {k: v for k, v in attributes.items() if not k.startswith("_")}
    del public["target_spec"], public["saved_model_dir"], public["optimizations"]
    settings = ConverterSettings(public)
    for key, value in public.items():
        assert settings[key] == value
    with pytest.raises(UserError, match="did you mean 'exclude_conversion_metadata'"):
        settings["exclude_conversion_meta"] = True
