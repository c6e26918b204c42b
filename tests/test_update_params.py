"""``doit-tflm update-params`` and ``update_model_parameters``: the metadata changes, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from conftest import Project
from doit_tflm import TfliteModel, Typed, UserError, archive, parameters, tflite, update_model_parameters
from doit_tflm.__main__ import app
from doit_tflm.key_values import from_arguments, from_file
from tiny_model import Op, T, build

ARCHIVE = "models/kws.mltk.zip"
BUILT = "build/kws/kws.tflite"
FOREIGN = build([T("x", (1, 4)), T("w", (4, 4), data=16), T("y", (1, 4))], [Op("ABS", ["x"], ["y"])], ["x"], ["y"])

RANGES = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}
RANGES |= {f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}
WIRE = [
    *((kind, str(limit), limit) for kind, limits in RANGES.items() for limit in limits),
    ("bool", "true", True),
    ("bool", "false", False),
    ("float", "10", 10.0),
    ("float", "-0.25", -0.25),
    ("float", "inf", float("inf")),
    ("double", "0.1", 0.1),
    ("double", "1e300", 1e300),
    ("str", "", ""),
    ("str", "10", "10"),
    ("str", "größer = als 0 ✓", "größer = als 0 ✓"),
    ("str_list", "[]", []),
    ("str_list", '["", "ja", "无"]', ["", "ja", "无"]),
    ("int32_list", "[]", []),
    ("int32_list", "[-2147483648, 0, 2147483647]", [-(2**31), 0, 2**31 - 1]),
    ("float_list", "[]", []),
    ("float_list", "[1, 2.5, -0.125]", [1.0, 2.5, -0.125]),
    ("bin", "", b""),
    ("bin", "00ff10", b"\x00\xff\x10"),
]


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a ``.tflite`` that somebody else made, in the current directory and outside of any project."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "foreign.tflite"
    path.write_bytes(FOREIGN)
    return path


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["update-params", *arguments])


def done(*arguments: str) -> str:
    result = command(*arguments)
    assert result.exit_code == 0, result.output
    return result.output.strip()


def typed(path: Path) -> dict[str, Typed]:
    """Return the parameters of a model, without its hash."""
    found = TfliteModel.load(path).typed_parameters
    assert found.pop("hash").type == "str"
    return found


# Values and types.


def test_every_wire_type_is_tried_here() -> None:
    assert {kind for kind, _, _ in WIRE} == set(parameters.TYPES)


def test_every_wire_type_can_be_given_as_an_argument(foreign: Path) -> None:
    done("foreign.tflite", *(f"p{number}:{kind}={text}" for number, (kind, text, _) in enumerate(WIRE)))
    assert typed(foreign) == {f"p{number}": Typed(kind, value) for number, (kind, _, value) in enumerate(WIRE)}


def test_every_wire_type_can_be_given_in_a_file(foreign: Path) -> None:
    content = {
        f"p{number}:{kind}": value.hex() if isinstance(value, bytes) else value
        for number, (kind, _, value) in enumerate(WIRE)
    }
    Path("params.json").write_text(json.dumps(content))
    done("foreign.tflite", "--params", "params.json")
    assert typed(foreign) == {f"p{number}": Typed(kind, value) for number, (kind, _, value) in enumerate(WIRE)}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("true", "bool", True),
        ("false", "bool", False),
        ("True", "str", "True"),
        ("43", "int32", 43),
        ("-2147483648", "int32", -(2**31)),
        ("2147483648", "int64", 2**31),
        ("9223372036854775808", "uint64", 2**63),
        ("0x10", "int32", 16),
        ("10.0", "float", 10.0),
        ("-.5", "float", -0.5),
        ("1e3", "float", 1000.0),
        ("1_000", "str", "1_000"),
        ("nan", "str", "nan"),
        ("infinity", "str", "infinity"),
        ("1.2.3", "str", "1.2.3"),
        ("٣", "str", "٣"),
        ("debug", "str", "debug"),
        ("", "str", ""),
        ("a=b", "str", "a=b"),
        ("[]", "str_list", []),
        ('["a"]', "str_list", ["a"]),
        ("[1, 2]", "int32_list", [1, 2]),
        ("[1, 2.5]", "float_list", [1.0, 2.5]),
    ],
)
def test_a_type_that_is_not_given_is_inferred(foreign: Path, text: str, kind: str, value: Any) -> None:
    done("foreign.tflite", f"key={text}")
    assert typed(foreign) == {"key": Typed(kind, value)}


def test_a_plain_value_of_a_file_gets_the_type_that_python_has_for_it(foreign: Path) -> None:
    Path("params.json").write_text('{"volume": 10.0, "log_level": "debug", "threshold": 43, "on": true, "n": []}')
    done("foreign.tflite", "-p", "params.json", "threshold=44")
    assert {key: (one.type, one.value) for key, one in typed(foreign).items()} == {
        "volume": ("float", 10.0),
        "log_level": ("str", "debug"),
        "threshold": ("int32", 44),
        "on": ("bool", True),
        "n": ("str_list", []),
    }, "and an argument comes before the file"


@given(st.text())
def test_any_text_is_a_string_where_the_type_says_so(text: str) -> None:
    assert from_arguments([f"key:str={text}"]) == {"key": Typed("str", text)}


@given(st.text(alphabet="0123456789.eE+-_xnaif[]{},\"'true ", max_size=12))
def test_any_value_is_read_or_is_one_message(text: str) -> None:
    for argument in (f"key={text}", *(f"key:{kind}={text}" for kind in parameters.TYPES)):
        try:
            parameters.encode(from_arguments([argument]))
        except UserError as error:  # noqa: PERF203
            assert "'key'" in str(error)  # noqa: PT017 - most texts are no error


def test_a_key_may_have_colons_where_the_type_is_given(foreign: Path) -> None:
    done("foreign.tflite", "fe.rate:hz:uint16=16000")
    assert typed(foreign) == {"fe.rate:hz": Typed("uint16", 16000)}


# What changes, and what does not.


def graph(path: Path) -> tuple[object, ...]:
    read = tflite.read(path.read_bytes())
    return (read.tensors, read.operators, read.inputs, read.outputs)


def test_only_the_metadata_of_a_foreign_model_changes(foreign: Path) -> None:
    assert not TfliteModel.load(foreign).has_parameters
    before = graph(foreign)
    assert done("foreign.tflite", "volume=10", "-d", "für Anna").endswith("foreign.tflite")
    model = TfliteModel.load(foreign)
    assert (model.parameters["volume"], model.description) == (10, "für Anna")
    assert graph(foreign) == before
    assert FOREIGN in foreign.read_bytes(), "the whole file of before is in it, byte for byte"
    done("foreign.tflite", "gain=2")
    assert FOREIGN in foreign.read_bytes()
    assert {key: one.value for key, one in typed(foreign).items()} == {"volume": 10, "gain": 2}


def test_entries_of_others_stay_byte_for_byte(foreign: Path) -> None:
    entries = {"TFLITE_METADATA": bytes(range(256)), "min_runtime_version": b"1.5.0\0", "empty": b""}
    foreign.write_bytes(tflite.with_metadata(FOREIGN, entries))
    done("foreign.tflite", "volume=10")
    done("foreign.tflite", "volume=11")
    metadata = dict(TfliteModel.load(foreign).metadata)
    del metadata[parameters.METADATA_NAME]
    assert metadata == entries


def test_the_same_parameters_are_the_same_bytes_and_leave_the_file_alone(foreign: Path) -> None:
    done("foreign.tflite", "volume=10", "gain=2")
    before, times = foreign.read_bytes(), foreign.stat().st_mtime_ns
    done("foreign.tflite", "gain=2", "volume=10")
    assert (foreign.read_bytes(), foreign.stat().st_mtime_ns) == (before, times)


@pytest.mark.parametrize(
    ("output", "path"),
    [("out.tflite", "out.tflite"), ("new/dir", "new/dir/foreign.tflite"), ("new/a.tflite", "new/a.tflite")],
)
def test_an_output_gets_the_model_and_the_file_is_left_alone(foreign: Path, output: str, path: str) -> None:
    assert done("foreign.tflite", "volume=10", "-o", output) == str(Path(path).absolute())
    assert TfliteModel.load(path).parameters["volume"] == 10
    assert foreign.read_bytes() == FOREIGN


def test_a_name_in_the_parameters_does_not_lead_out_of_the_directory(foreign: Path) -> None:
    foreign.write_bytes(parameters.embed(FOREIGN, {"name": "../../elsewhere"}, ""))
    assert done("foreign.tflite", "volume=10", "-o", "out") == str(Path("out/foreign.tflite").absolute())


def test_mltks_spelling_of_the_command_is_understood(foreign: Path) -> None:
    assert CliRunner().invoke(app, ["update_params", "foreign.tflite", "a=1"]).exit_code == 0
    assert typed(foreign) == {"a": Typed("int32", 1)}


# Mistakes.

MISTAKES = [
    (["volume"], "'volume' is no parameter; write KEY=VALUE"),
    (["=1"], "'=1' is no parameter"),
    ([":int8=1"], "has no name before the colon"),
    (["a:int9=1"], "parameter 'a': 'int9' is not a type; use one of bool, int8"),
    (["a:int8=128"], "'a': 128 is out of the range of int8, -128 to 127"),
    (["a:uint64=-1"], "'a': -1 is out of the range of uint64"),
    (["a:int32=1.5"], "'a': 1.5 is not a value of type int32"),
    (["a:bool=1"], "'a': 1 is not a value of type bool"),
    (["a:float=loud"], "'a': 'loud' is not a value of type float"),
    (["a:float=1e39"], "'a': 1e+39 is out of the range of float"),
    (["a:bin=0g"], "'0g' are no hexadecimal digits"),
    (["a:str_list=[1]"], "'a': 1 is not a value of type str"),
    (["a:int32_list=7"], "'7' is no list; write e.g. [1, 2]"),
    (["a=[1"], "'[1' is no list in JSON"),
    (["a=18446744073709551616"], "out of the range of uint64"),
    (["-p", "none.json"], "none.json: there is no such file"),
    (["-p", "list.json"], "list.json: holds no object"),
    (["-p", "bad.json"], "bad.json: cannot be read"),
    (["-p", "null.json"], "'a': None is a NoneType"),
    (["a=1", "-o", "notes.txt"], "notes.txt: exists, and is no directory"),
]


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else ""
)
def test_a_mistake_is_one_message_and_changes_nothing(foreign: Path, arguments: list[str], said: str) -> None:
    for name, text in {
        "list.json": "[1]",
        "bad.json": "{",
        "null.json": '{"a": null}',
        "notes.txt": "mine",
    }.items():
        Path(name).write_text(text)
    before = {path.name: path.read_bytes() for path in foreign.parent.iterdir()}
    result = command("foreign.tflite", "good=1", *arguments)
    assert isinstance(result.exception, UserError)
    assert said in str(result.exception)
    assert "\n" not in str(result.exception)
    assert {path.name: path.read_bytes() for path in foreign.parent.iterdir()} == before


@pytest.mark.parametrize("model", ["none.tflite", "none.mltk.zip", "none", "models/none.py"])
def test_a_model_that_is_not_there_is_told(foreign: Path, model: str) -> None:
    result = command(model, "a=1")
    assert isinstance(result.exception, UserError)
    assert "none" in str(result.exception)


def test_what_is_no_model_is_told_and_left_alone(foreign: Path) -> None:
    foreign.write_bytes(FOREIGN[:100])
    result = command("foreign.tflite", "a=1")
    assert isinstance(result.exception, UserError)
    assert foreign.read_bytes() == FOREIGN[:100]


def test_the_command_line_says_error_and_ends_with_1(foreign: Path) -> None:
    project = Project(foreign.parent)
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm", "update-params", "foreign.tflite", "a:int8=1000"],
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: model parameter 'a': 1000 is out of the range of int8, -128 to 127; use another type\n"
    )


# The Python API.


def test_the_api_returns_the_path_or_the_model(foreign: Path, tmp_path: Path) -> None:
    assert update_model_parameters(str(foreign), {"a": 1}) == foreign
    assert typed(foreign) == {"a": Typed("int32", 1)}
    out = update_model_parameters(foreign, {"b": Typed("double", 0.1)}, "new", tmp_path / "out")
    assert out == tmp_path / "out/foreign.tflite"
    before = foreign.read_bytes()
    made = update_model_parameters(foreign, {"c": b"\0"}, output="tflite_model")
    assert isinstance(made, TfliteModel)
    assert (made.parameters["a"], made.parameters["c"]) == (1, b"\0")
    assert foreign.read_bytes() == before


def test_the_api_takes_a_model(foreign: Path) -> None:
    model = TfliteModel.load(foreign)
    assert update_model_parameters(model, {"a": 1}) == foreign
    assert typed(foreign) == {"a": Typed("int32", 1)}
    nowhere = TfliteModel(FOREIGN)
    with pytest.raises(UserError, match="came from no file"):
        update_model_parameters(nowhere, {"a": 1})
    assert nowhere.data == FOREIGN
    assert update_model_parameters(nowhere, {"a": 1}, output=foreign.parent) == foreign.parent / "model.tflite"


# Archives, and models of a project.


@pytest.fixture
def kws(built: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Return the built project, as the current directory."""
    monkeypatch.chdir(built.root)
    return built


def members(path: Path) -> dict[str, bytes]:
    return {name: archive.read_member(path, name) or b"" for name in archive.members(path)}


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_only_the_tflite_of_an_archive_and_its_summary_change(kws: Project, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere/kws.mltk.zip"
    path.parent.mkdir()
    shutil.copy(kws.path(ARCHIVE), path)
    archive.update_members(path, {"notes.txt": b"mine", "train/weights/weights-1.h5": b"1"})
    before = members(path)
    assert done(str(path), "volume_db=7.5", "extra=1") == str(path)
    after = members(path)
    assert changed(before, after) == {"kws.tflite", "kws.tflite.summary.txt"}
    model = TfliteModel(after["kws.tflite"])
    assert (model.parameters["volume_db"], model.parameters["extra"], model.name) == (7.5, 1, "kws")
    assert b"extra" in after["kws.tflite.summary.txt"]
    assert sorted(one.name for one in path.parent.iterdir()) == ["kws.mltk.zip"]


def test_an_archive_is_not_run_for_it(kws: Project, tmp_path: Path) -> None:
    path = tmp_path / "kws.mltk.zip"
    shutil.copy(kws.path(ARCHIVE), path)
    archive.update_members(path, {"kws.py": b"raise SystemExit('never to be run')\n"})
    done(str(path), "extra=1")
    assert TfliteModel(members(path)["kws.tflite"]).parameters["extra"] == 1


def test_an_archive_in_a_project_is_not_run_either(kws: Project) -> None:
    path = kws.path(ARCHIVE)
    archive.update_members(path, {"kws.py": b"raise SystemExit('never to be run')\n"})
    kws.path("models/kws.py").unlink()
    before = kws.outputs()
    done(str(path), "extra=1")
    assert TfliteModel(members(path)["kws.tflite"]).parameters["extra"] == 1
    assert changed(before, kws.outputs()) == {"kws.mltk.zip!kws.tflite"}


def test_an_archive_without_a_model_is_told_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kws.mltk.zip"
    archive.update_members(path, {"kws.keras": b"weights"})
    before = path.read_bytes()
    result = command(str(path), "a=1")
    assert isinstance(result.exception, UserError)
    assert "has no .tflite; quantize the model first" in str(result.exception)
    assert path.read_bytes() == before


def test_saving_a_model_of_an_archive_does_not_replace_the_archive(kws: Project, tmp_path: Path) -> None:
    path = tmp_path / "kws.mltk.zip"
    shutil.copy(kws.path(ARCHIVE), path)
    before = path.read_bytes()
    made = update_model_parameters(path, {"a": 1}, output="tflite_model")
    assert isinstance(made, TfliteModel)
    with pytest.raises(UserError, match="came from no file"):
        made.save()
    assert path.read_bytes() == before


def test_a_model_of_the_project_gets_the_parameters_of_its_edited_specification(kws: Project) -> None:
    kws.edit(
        "models/kws.py", 'my_model.model_parameters["volume_db"] = 5.0', 'my_model.model_parameters["gain"] = 3'
    )
    before = members(kws.path(ARCHIVE))
    weights = tflite.read(before["kws.tflite"]).tensors
    assert done("kws").endswith("kws.mltk.zip")
    after = members(kws.path(ARCHIVE))
    assert changed(before, after) == {"kws.py", "kws.tflite", "kws.tflite.summary.txt"}
    model = TfliteModel(after["kws.tflite"])
    assert model.parameters["gain"] == 3
    assert "volume_db" not in model.parameters
    assert model.tensors == weights
    assert kws.build().out == "1 model is up to date\n"


def test_what_the_specification_does_not_say_stays_until_the_next_build(kws: Project) -> None:
    before = members(kws.path(ARCHIVE))
    built = kws.path(BUILT).read_bytes()
    done("kws", "extra=1", "--description", "mine")
    model = TfliteModel(members(kws.path(ARCHIVE))["kws.tflite"])
    assert (model.parameters["extra"], model.parameters["volume_db"], model.description) == (1, 5.0, "mine")
    assert kws.path(BUILT).read_bytes() == built
    assert kws.build().stages == ["archive"]
    assert members(kws.path(ARCHIVE)) == before


def test_an_output_of_a_model_of_the_project_leaves_its_archive_alone(kws: Project, tmp_path: Path) -> None:
    before = kws.path(ARCHIVE).read_bytes()
    assert done("kws", "extra=1", "-o", str(tmp_path)) == str(tmp_path / "kws.tflite")
    assert TfliteModel.load(tmp_path / "kws.tflite").parameters["extra"] == 1
    assert kws.path(ARCHIVE).read_bytes() == before


def test_a_dry_runs_model_is_changed_in_its_own_archive(kws: Project, tmp_path: Path) -> None:
    dry = kws.path("models/kws-test.mltk.zip")
    archive.update_members(dry, {"kws-test.tflite": kws.path(BUILT).read_bytes()})
    before = kws.path(ARCHIVE).read_bytes()
    done("kws-test", "extra=1")
    assert TfliteModel(members(dry)["kws-test.tflite"]).parameters["extra"] == 1
    assert kws.path(ARCHIVE).read_bytes() == before
    assert done("kws-test", "extra=1", "-o", str(tmp_path)) == str(tmp_path / "kws.test.tflite")


def test_a_mistake_leaves_archive_and_build_alone(kws: Project) -> None:
    before = kws.files()
    result = command("kws", "a:int8=1000")
    assert isinstance(result.exception, UserError)
    after = kws.files()
    assert {name for name in before if before[name] != after.get(name)} <= {"build/.doit-tflm.journal"}
    assert kws.build().out == "1 model is up to date\n"


def test_a_file_of_parameters_is_an_object(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"a:uint8": 3, "raw:bin": "00ff", "b": "00ff"}')
    assert from_file(path) == {"a": Typed("uint8", 3), "raw": Typed("bin", b"\x00\xff"), "b": "00ff"}
