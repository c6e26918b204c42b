"""`ConverterSettings`: the strict mapping behind ``spec.tflite_converter``.

The keys and defaults are those of MLTK's ``tflite_converter``, plus every public attribute of the installed
TensorFlow's ``TFLiteConverter`` and ``TargetSpec``. TensorFlow itself accepts a misspelt attribute silently.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import cache
from typing import Any

from doit_tflm.errors import UserError, did_you_mean

__all__ = ["ConverterSettings"]

INT8_OPS = "TFLITE_BUILTINS_INT8"
FLOAT_OPS = "TFLITE_BUILTINS"
INT16X8_OPS = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"

_OPTIMIZATIONS = {"DEFAULT": "DEFAULT", "OPTIMIZE_FOR_SIZE": "DEFAULT", "OPTIMIZE_FOR_LATENCY": "DEFAULT"}
_OPS_SETS = (FLOAT_OPS, INT8_OPS, INT16X8_OPS)
_IO_TYPES = ("int8", "uint8", "int16", "float32")
_FLAGS = (
    "allow_custom_ops",
    "experimental_new_converter",
    "experimental_new_quantizer",
    "experimental_enable_resource_variables",
    "generate_unquantized",
    "generate_quantization_report",
)
_NOT_TFLM = {
    "SELECT_TF_OPS": "TFLM has no TensorFlow kernels to fall back on",
    "EXPERIMENTAL_STABLEHLO_OPS": "TFLM has no StableHLO kernels",
}
_DEFAULTS: dict[str, Any] = {
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


def error(key: str, what: str, fix: str) -> UserError:
    """Return an error about one setting."""
    return UserError(f"tflite_converter[{key!r}] {what}", fix=fix)


def name_of(value: Any) -> Any:
    """Return the name of an enum member, TensorFlow or NumPy dtype, or type; anything else as it is.

    This is what makes ``tf.int8``, ``np.int8``, ``np.dtype("int8")`` and ``"int8"`` one and the same.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, type):
        return value.__name__
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else value


def _names(key: str, value: Any, known: Iterable[str]) -> list[str]:
    """Return the sorted names of a list of enum members."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise error(key, f"is {value!r}, which is not a list", f"write [{value!r}]")
    names = [name_of(item) for item in value]
    for name in names:
        if name in list(_NOT_TFLM):
            raise error(key, f"holds {name}, but {_NOT_TFLM[name]}", f"leave {name} out")
        if name not in list(known):
            raise error(key, f"holds {name!r}, which is not known", f"use some of {', '.join(known)}")
    return sorted(set(names))


def _io_type(key: str, value: Any) -> str:
    """Return the name of an input or output type."""
    name = "float32" if value is None else name_of(value)
    if name == "float":
        name = "float32"
    if name not in _IO_TYPES:
        raise error(key, f"is {value!r}, which is no type of an input or output", f"use {', '.join(_IO_TYPES)}")
    return str(name)


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise error(key, f"is {value!r}, which is neither True nor False", "use True or False")
    return value


def _representative_dataset(key: str, value: Any) -> Any:
    if value is None or value == "generate":
        return value
    if callable(value):
        return "function"
    raise error(
        key,
        f"is {value!r}",
        'use "generate" to draw from the spec\'s dataset, a generator function (without calling it), or None',
    )


def _max_samples(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise error(key, f"is {value!r}, which is no positive whole number", "use 100 to 1000")
    return value


def _canonical(key: str, value: Any) -> Any:
    """Return the JSON form of a setting, the same for every spelling of it.

    Raises
    ------
    UserError
        If the key is unknown, or the value is not one of the key's.
    """
    rules: dict[str, Callable[[str, Any], Any]] = {
        "optimizations": lambda k, v: sorted({_OPTIMIZATIONS[n] for n in _names(k, v, _OPTIMIZATIONS)}),
        "supported_ops": lambda k, v: _names(k, v, _OPS_SETS),
        "inference_input_type": _io_type,
        "inference_output_type": _io_type,
        "representative_dataset": _representative_dataset,
        "representative_dataset_max_samples": _max_samples,
        **dict.fromkeys(_FLAGS, _flag),
    }
    if key in rules:
        return rules[key](key, value)
    return _tensorflow_attribute(key, value)


def _tensorflow_attribute(key: str, value: Any) -> Any:
    """Return the JSON form of a setting that only the installed TensorFlow knows."""
    known = _tensorflow_attributes()
    if key not in known:
        fix = did_you_mean(key, [*_DEFAULTS, *known], f"use one of {', '.join(_DEFAULTS)}")
        raise error(key, "is not a setting of the converter", fix)
    if key == "supported_types":
        types = _names(key, value, ("int8", "float16", "bfloat16", "float32"))
        if {"float16", "bfloat16"} & set(types):
            raise error(key, "asks for float16, which TFLM's kernels do not compute in", "leave it out")
        return types
    if isinstance(value, (list, tuple, set, frozenset)):
        return sorted(str(name_of(item)) for item in value)
    name = name_of(value)
    if name is None or isinstance(name, (str, bool, int, float)):
        return name
    raise error(key, f"is a {type(value).__name__}, which cannot be compared from build to build", "leave it out")


@cache
def _tensorflow_attributes() -> set[str]:
    """Return the public attributes of the installed ``TFLiteConverter`` and ``TargetSpec``."""
    import tensorflow as tf

    function = tf.function(lambda x: x).get_concrete_function(tf.TensorSpec([1], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    names = {*vars(converter), *vars(converter.target_spec)}
    return {n for n in names if not n.startswith("_")} - {"target_spec", "saved_model_dir"}


class ConverterSettings(MutableMapping[str, Any]):
    """The converter's settings: a mapping that knows its keys.

    A value comes back as it was set; `canonical` gives the one JSON form of all its spellings.

    Raises
    ------
    UserError
        When an unknown key or a value of the wrong kind is set.
    """

    def __init__(self, values: MutableMapping[str, Any] | None = None) -> None:
        self._values = copy.deepcopy(_DEFAULTS)
        self.update(values or {})

    def __getitem__(self, key: str) -> Any:
        """Return a setting as it was set, or its default."""
        if key not in self._values and key not in _tensorflow_attributes():
            _canonical(key, None)
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Check and set a setting."""
        _canonical(key, value)
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        """Put a setting back to its default."""
        if key in _DEFAULTS:
            self[key] = copy.deepcopy(_DEFAULTS[key])
        else:
            del self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that have a value."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of keys that have a value."""
        return len(self._values)

    def __repr__(self) -> str:
        return f"ConverterSettings({self._values!r})"

    def canonical(self) -> dict[str, Any]:
        """Return the settings as plain JSON values; equal settings are equal whatever their spelling."""
        # Of the values as they are now: a list may have been appended to.
        return {key: _canonical(key, value) for key, value in self._values.items()}

    @property
    def mode(self) -> str:
        """How the model is converted.

        ``"int8"`` is quantized in two stages, calibrate and quantize. ``"oneshot"`` is quantized by one call of
        the converter, since the staged path does not apply. ``"float"`` is not quantized.
        """
        settings = self.canonical()
        if not settings["optimizations"]:
            return "float"
        if INT16X8_OPS in settings["supported_ops"] or not settings["experimental_new_quantizer"]:
            return "oneshot"
        return "int8"

    def check(self) -> None:
        """Check that the settings can be had together, for a target that runs TFLM.

        Raises
        ------
        UserError
            At the first combination that cannot.
        """
        settings = self.canonical()
        ops, mode = settings["supported_ops"], self.mode
        if not ops:
            raise error("supported_ops", "is empty", f"use [{INT8_OPS}]")
        if mode == "float":
            self._check_float(ops)
        elif settings["representative_dataset"] is None:
            if INT8_OPS in ops or INT16X8_OPS in ops:
                raise error(
                    "representative_dataset",
                    f"is None, but {ops[0]} needs samples to calibrate with",
                    'use "generate" or a generator function',
                )
            raise error(
                "optimizations",
                "without a representative dataset asks for dynamic range quantization: float "
                "activations with int8 weights, which TFLM does not run",
                'set representative_dataset to "generate", or optimizations to [] for a float model',
            )
        self._check_io(INT16X8_OPS in ops, mode)
        if INT16X8_OPS in ops and INT8_OPS in ops:
            raise error("supported_ops", "holds both 8-bit and 16x8 integer ops", "choose one of the two")

    def _check_float(self, ops: list[str]) -> None:
        if ops != [FLOAT_OPS]:
            raise error(
                "optimizations",
                f"is empty, but supported_ops {ops} asks for integer quantization",
                f"use optimizations [DEFAULT], or supported_ops [{FLOAT_OPS}] for a float model",
            )

    def _check_io(self, int16x8: bool, mode: str) -> None:  # noqa: FBT001 - private, and named at each call
        kind = "a float model" if mode == "float" else "16x8 quantization" if int16x8 else "int8 quantization"
        allowed = (
            ("float32",) if mode == "float" else ("int16", "float32") if int16x8 else ("int8", "uint8", "float32")
        )
        for key in ("inference_input_type", "inference_output_type"):
            value = self.canonical()[key]
            if value not in allowed:
                raise error(key, f"is {value}, which {kind} does not have", f"use {' or '.join(allowed)}")
