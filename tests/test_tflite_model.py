"""`TfliteModel`: what a ``.tflite`` holds, its metadata, and running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm import TfliteModel, Typed, UserError, archive, parameters, tflite, tflm
from tiny_model import Op, T, build

SINE = Path(__file__).parent.parent / "models/sine.mltk.zip"
SCALE, ZERO = 0.5, -1

needs_tflm = pytest.mark.skipif(not tflm.available(), reason="tflite-micro has no wheel for this platform")


def rescaling() -> bytes:
    """Return a model that takes int8 in steps of a half to int8 in steps of a quarter."""
    return build(
        [T("x", (1, 4), scale=SCALE, zero_point=ZERO), T("y", (1, 4), scale=0.25, zero_point=3)],
        [Op("QUANTIZE", ["x"], ["y"])],
        ["x"],
        ["y"],
    )


def adding(batch: tuple[int, ...] = (1,)) -> bytes:
    """Return a model that adds two inputs of four real numbers."""
    tensors = [T(name, (*batch, 4), "float32") for name in ("a", "b", "sum")]
    return build(tensors, [Op("ADD", ["a", "b"], ["sum"], "AddOptions")], ["a", "b"], ["sum"])


def two_outputs() -> bytes:
    tensors = [T(name, (1, 2), "float32") for name in ("x", "y", "z")]
    return build(tensors, [Op("ABS", ["x"], ["y"]), Op("ABS", ["y"], ["z"])], ["x"], ["y", "z"])


@pytest.fixture
def model() -> TfliteModel:
    return TfliteModel(rescaling())


@pytest.fixture(scope="module")
def sine() -> TfliteModel:
    data = archive.read_member(SINE, "sine.tflite")
    assert data is not None
    return TfliteModel(data)


# Files.


def test_a_model_is_loaded_and_saved_where_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    path.write_bytes(rescaling())
    model = TfliteModel.load(str(path))
    assert (model.path, model.name, model.data) == (path, "mine", rescaling())
    model.description = "changed"
    assert path.read_bytes() == rescaling(), "nothing is written before save"
    assert model.save() == path
    assert TfliteModel.load(path).description == "changed"


def test_a_model_is_saved_somewhere_else(tmp_path: Path, model: TfliteModel) -> None:
    path = tmp_path / "new/copy.tflite"
    assert model.save(path) == path
    assert path.read_bytes() == rescaling()
    assert model.path == path


def test_a_file_that_is_the_same_is_left_alone(tmp_path: Path, model: TfliteModel) -> None:
    path = model.save(tmp_path / "m.tflite")
    before = path.stat()
    model.save()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, model: TfliteModel) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot be written"):
        model.save(tmp_path / "file/model.tflite")
    (tmp_path / "directory").mkdir()
    with pytest.raises(UserError, match="is a directory"):
        model.save(tmp_path / "directory")
    assert (tmp_path / "directory").is_dir()


def test_a_model_of_no_file_wants_a_path(model: TfliteModel) -> None:
    with pytest.raises(UserError, match="came from no file; give save a path"):
        model.save()


@pytest.mark.parametrize("content", [b"", b"not a model", rescaling()[:60]])
def test_what_is_no_model_is_told_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match="model") as error:
        TfliteModel.load(path)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError):
        TfliteModel(content)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tflite", tmp_path):
        with pytest.raises(UserError, match="there is no such file"):
            TfliteModel.load(path)


# What it holds.


def test_tensors_and_operators_are_those_of_the_graph(model: TfliteModel) -> None:
    assert [tensor.name for tensor in model.tensors] == ["x", "y"]
    assert [operator.name for operator in model.operators] == ["QUANTIZE"]
    assert [(one.name, one.shape, one.dtype) for one in model.inputs] == [("x", (1, 4), "int8")]
    assert model.outputs[0].quantization == tflite.Quantization((0.25,), (3,), 0)
    assert [one.name for one in TfliteModel(adding()).inputs] == ["a", "b"]
    assert [one.name for one in TfliteModel(two_outputs()).outputs] == ["y", "z"]


def test_its_repr_names_it_and_its_size(model: TfliteModel) -> None:
    assert repr(model) == f"<TfliteModel without a name, {len(rescaling())} bytes>"
    model.update_parameters({"name": "kws"})
    assert repr(model) == f"<TfliteModel kws, {len(model.data)} bytes>"


def test_the_summary_is_text(sine: TfliteModel) -> None:
    text = sine.summary()
    assert "FULLY_CONNECTED" in text
    assert "inferences_per_cycle" in text


# Metadata and parameters.


def test_the_description_can_be_set(model: TfliteModel) -> None:
    assert model.description == "a tiny model"
    model.description = "ein kleines Modell, größer als 0"
    assert TfliteModel(model.data).description == "ein kleines Modell, größer als 0"
    assert not model.has_parameters, "and nothing else is added"
    assert model.data.rstrip(b"\0").endswith(rescaling().rstrip(b"\0"))


def test_metadata_entries_are_added_and_replaced(model: TfliteModel) -> None:
    assert dict(model.metadata) == {}
    model.set_metadata("mine", b"\x00\xff")
    model.set_metadata("other", b"")
    model.set_metadata("mine", b"replaced")
    assert dict(TfliteModel(model.data).metadata) == {"mine": b"replaced", "other": b""}
    with pytest.raises(TypeError):
        model.metadata["mine"] = b""  # type: ignore[index]


def test_a_model_without_parameters_has_none(model: TfliteModel) -> None:
    assert (model.has_parameters, model.parameters, model.typed_parameters) == (False, {}, {})


@given(
    st.dictionaries(st.text(min_size=1), st.integers(-(2**63), 2**64 - 1) | st.text() | st.booleans(), max_size=5)
)
def test_parameters_round_trip(values: dict[str, Any]) -> None:
    values.pop("hash", None)
    model = TfliteModel(rescaling())
    model.update_parameters(values)
    again = TfliteModel(model.data)
    assert {**again.parameters} == {**values, "hash": again.parameters["hash"]}
    assert again.operators == model.operators
    assert again.description == "a tiny model"


def test_parameters_are_added_to_those_that_are_there_and_keep_their_types(model: TfliteModel) -> None:
    model.update_parameters({"count": Typed("uint8", 3), "gain": 2.0, "text": "a"}, description="new")
    model.update_parameters({"count": 200, "gain": 3, "more": [1, 2]})
    assert model.description == "new"
    assert model.parameters | {"hash": ""} == {
        "count": 200, "gain": 3.0, "hash": "", "more": [1, 2], "text": "a"
    }  # fmt: skip
    kinds = {key: typed.type for key, typed in model.typed_parameters.items()}
    assert kinds == {"count": "uint8", "gain": "float", "hash": "str", "more": "int32_list", "text": "str"}
    model.update_parameters({"count": 300, "gain": "loud", "text": True})
    kinds = {key: typed.type for key, typed in model.typed_parameters.items()}
    assert (kinds["count"], kinds["gain"], kinds["text"]) == ("int32", "str", "bool"), "where they cannot hold it"


def test_a_parameter_that_cannot_be_changes_nothing(model: TfliteModel) -> None:
    model.update_parameters({"a": 1})
    before = model.data
    for wrong in ({"b": None}, {"b": Typed("int8", 128)}, {"b": {}}, {"b": 2**64}):
        with pytest.raises(UserError, match="'b'"):
            model.update_parameters({"a": 2, **wrong}, description="new")
        assert model.data == before


def test_the_hash_is_that_of_the_file_whatever_is_changed(model: TfliteModel) -> None:
    model.update_parameters({"a": 1})
    seen = {model.parameters["hash"]}
    for change in (
        lambda: model.update_parameters({"a": 2}),
        lambda: setattr(model, "description", "another"),
        lambda: model.set_metadata("mine", b"entry"),
    ):
        change()
        blank = {**model.typed_parameters, "hash": Typed("str", "")}
        content = {parameters.METADATA_NAME: parameters.encode(blank)}
        blanked = tflite.with_metadata(model.data, content, model.description)
        assert model.parameters["hash"] == parameters.model_hash(blanked)
        assert model.parameters["hash"] not in seen
        seen.add(model.parameters["hash"])
    fresh = TfliteModel(rescaling())
    fresh.set_metadata("mine", b"entry")
    fresh.update_parameters({"a": 2}, "another")
    assert fresh.data == model.data, "the same model, whichever way it came about"


def test_a_model_that_is_changed_again_and_again_does_not_grow(model: TfliteModel) -> None:
    model.update_parameters({"a": 0, "text": "short"})
    size = len(model.data)
    for number in range(5):
        model.update_parameters({"a": number, "text": "long" * 100})
        model.description = "long" * 100
        model.set_metadata("mine", bytes(1000))
    model.update_parameters({"a": 0, "text": "short"}, "a tiny model")
    model.set_metadata("mine", b"")
    assert len(model.data) <= size + 100
    assert TfliteModel(model.data).operators == TfliteModel(rescaling()).operators


def test_bytes_that_look_like_a_model_are_not_taken_for_one() -> None:
    model = TfliteModel(rescaling())
    model.set_metadata("another", rescaling())
    model.set_metadata("an identifier", b"TFL3" * 50)
    model.update_parameters({"a": 1})
    assert model.metadata["another"] == rescaling()
    assert model.metadata["an identifier"] == b"TFL3" * 50
    assert model.description == "a tiny model"


# Running it.

RUNTIMES = [pytest.param("tflm", marks=needs_tflm), pytest.param("litert", marks=pytest.mark.slow)]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_real_numbers_are_quantized_and_come_back(model: TfliteModel, runtime: Any) -> None:
    found = model.predict([[0.0, 0.5, 1.0, 1.24], [-1.0, 100.0, -100.0, 0.0]], runtime=runtime)
    assert isinstance(found, np.ndarray)
    assert (found.dtype, found.shape) == (np.float32, (2, 4))
    # int8 in steps of a quarter ends at 31.
    np.testing.assert_array_equal(found, np.array([[0, 0.5, 1, 1], [-1, 31, -32.75, 0]], np.float32))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_integers_of_the_inputs_own_type_are_taken_as_they_are(model: TfliteModel, runtime: Any) -> None:
    found = model.predict(np.array([[-1, 0, 1, 3]], np.int8), runtime=runtime)
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, [[3, 5, 7, 11]])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_several_inputs_come_by_name_or_in_order(runtime: Any) -> None:
    model = TfliteModel(adding())
    a, b = np.ones((3, 4)), np.arange(12.0).reshape(3, 4)
    for x in ({"b": b, "a": a}, [a, b], (a, b)):
        np.testing.assert_array_equal(model.predict(x, runtime=runtime), a + b)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_several_outputs_are_a_list(runtime: Any) -> None:
    found = TfliteModel(two_outputs()).predict([[-1.0, 2.0]], runtime=runtime)
    assert isinstance(found, list)
    assert [one.tolist() for one in found] == [[[1.0, 2.0]], [[1.0, 2.0]]]


@needs_tflm
def test_a_model_without_a_batch_dimension_is_run() -> None:
    found = TfliteModel(adding(batch=())).predict([np.ones((2, 4)), np.ones((2, 4))], runtime="tflm")
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[2.0] * 4] * 2


@needs_tflm
@pytest.mark.slow
def test_the_sine_model_gives_the_sine_in_both_runtimes(sine: TfliteModel) -> None:
    x = np.linspace(0, 2 * np.pi, 50, dtype=np.float32).reshape(-1, 1)
    litert, on_tflm = sine.predict(x), sine.predict(x, runtime="tflm")
    assert isinstance(litert, np.ndarray)
    assert np.abs(litert - np.sin(x)).max() < 0.08
    assert sine.outputs[0].quantization is not None
    assert np.abs(litert - on_tflm).max() <= 1.01 * sine.outputs[0].quantization.scales[0]


@needs_tflm
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (3, "there are no samples of x"),
        ([], "there are no samples of x"),
        ([[1, 2]], r"a sample has shape \(2,\), but x takes \(4,\)"),
        (np.zeros((2, 3), np.int8), r"a sample has shape \(3,\), but x takes \(4,\)"),
        ([[0, 1, 2, np.nan]], "the samples of x are not all finite"),
        ([["a", "b", "c", "d"]], "the samples of x are <U1; give numbers"),
        ([[1, 2, 3, 4], [1]], "the samples are no array"),
        ({"x": [[1, 2, 3, 4]], "y": [[1]]}, "2 inputs are given, but the model has 1"),
    ],
)
def test_samples_that_do_not_fit_are_told(model: TfliteModel, x: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model.predict(x, runtime="tflm")


@needs_tflm
@pytest.mark.parametrize(
    ("x", "said"),
    [
        ([np.ones((2, 4)), np.ones((3, 4))], "the inputs differ in their number of samples"),
        ([np.ones((3, 4)), np.ones((2, 4))], "the inputs differ in their number of samples"),
        ({"a": np.ones((2, 4)), "c": np.ones((2, 4))}, "the inputs are called a, c, but the model's a, b"),
        (np.ones((2, 4)), "1 inputs are given, but the model has 2"),
        ([np.ones((2, 4))] * 3, "3 inputs are given, but the model has 2"),
    ],
)
def test_several_inputs_that_do_not_fit_are_told(x: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        TfliteModel(adding()).predict(x, runtime="tflm")


def test_a_runtime_that_is_not_known_is_told(model: TfliteModel) -> None:
    with pytest.raises(UserError, match='runtime is \'tfl\'; use "litert" or "tflm"'):
        model.predict([[1, 2, 3, 4]], runtime="tfl")  # type: ignore[arg-type]


def test_tflm_that_is_not_installed_is_told(model: TfliteModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflm, "available", lambda: False)
    with pytest.raises(UserError, match="tflite-micro is not installed"):
        model.predict([[1, 2, 3, 4]], runtime="tflm")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_model_that_a_runtime_does_not_run_is_told(runtime: Any) -> None:
    strange = TfliteModel(build([T("x", (1, 4)), T("y", (1, 4))], [Op("MyOp", ["x"], ["y"])], ["x"], ["y"]))
    with pytest.raises(UserError, match="MyOp"):
        strange.predict([[1, 2, 3, 4]], runtime=runtime)
