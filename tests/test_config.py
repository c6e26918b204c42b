"""The project's settings in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError


def configured(root: Path, table: str) -> Config:
    (root / "pyproject.toml").write_text(table)
    return read_config(root)


def test_without_settings_there_are_defaults(tmp_path: Path) -> None:
    assert read_config(tmp_path) == Config()
    assert configured(tmp_path, "") == Config()
    assert configured(tmp_path, "[project]\nname = 'x'\n[tool.other]\nmodels_dir = 'y'\n") == Config()
    assert configured(tmp_path, "[tool.doit-tflm]\n") == Config()


def test_each_setting_is_read(tmp_path: Path) -> None:
    values = 'models_dir = "m"\nbuild_dir = "out/b"\nheader_dir = "fw"\nconverter = "mine:Converter"\n'
    table = f"[tool.doit-tflm]\n{values}"
    assert configured(tmp_path, table) == Config("m", "out/b", "fw", "mine:Converter")
    assert configured(tmp_path, table).journal == "out/b/.doit-tflm.journal"


@pytest.mark.parametrize("spelling", ["m", "./m", "m/", "x/../m", "ROOT/m", "ROOT/./x/../m/"])
def test_each_spelling_of_a_path_is_one(tmp_path: Path, spelling: str) -> None:
    value = spelling.replace("ROOT", str(tmp_path))
    assert configured(tmp_path, f'[tool.doit-tflm]\nmodels_dir = "{value}"\n').models_dir == "m"


def test_programs_are_lists_of_models(tmp_path: Path) -> None:
    table = '[tool.doit-tflm.programs]\napp = ["kws", "sine"]\n'
    assert configured(tmp_path, table).programs == {"app": ["kws", "sine"]}
    for wrong in (
        'programs = "app"',
        'programs = { app = "kws" }',
        "programs = { app = [] }",
        "programs = { a = [1] }",
    ):
        with pytest.raises(UserError, match="write a list of models for each program"):
            configured(tmp_path, f"[tool.doit-tflm]\n{wrong}\n")


@pytest.mark.parametrize("spelling", ["../fw", "ROOT/../fw"])
def test_a_directory_outside_of_the_project_is_absolute(tmp_path: Path, spelling: str) -> None:
    value = spelling.replace("ROOT", str(tmp_path))
    config = configured(tmp_path, f'[tool.doit-tflm]\nheader_dir = "{value}"\n')
    assert config.header_dir == str(tmp_path.parent / "fw")


def test_the_converter_is_no_path(tmp_path: Path) -> None:
    assert configured(tmp_path, '[tool.doit-tflm]\nconverter = "./a:b"\n').converter == "./a:b"


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("model_dir", "did you mean 'models_dir'?"),
        ("builddir", "did you mean 'build_dir'?"),
        ("zzz", "use models_dir, build_dir, header_dir, converter, programs, samples, firmware"),
    ],
)
def test_an_unknown_setting_is_an_error_that_names_the_nearest(tmp_path: Path, key: str, fix: str) -> None:
    with pytest.raises(UserError) as caught:
        configured(tmp_path, f'[tool.doit-tflm]\n{key} = "x"\n')
    assert str(caught.value) == f"{tmp_path}/pyproject.toml: [tool.doit-tflm] has no setting {key!r}; {fix}"


@pytest.mark.parametrize("value", ["3", "true", '["models"]', '""', "{ a = 1 }"])
def test_a_setting_that_is_no_path_is_an_error(tmp_path: Path, value: str) -> None:
    with pytest.raises(UserError, match=r"\[tool.doit-tflm\] models_dir is .*; give a path"):
        configured(tmp_path, f"[tool.doit-tflm]\nmodels_dir = {value}\n")


def test_settings_that_are_no_table_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tool.doit-tflm is 'models'; write a table"):
        configured(tmp_path, '[tool]\ndoit-tflm = "models"\n')


@pytest.mark.parametrize("content", [b"[tool", b"a = \n", b"\xff\xfe", b'a = "x"\na = "y"\n'])
def test_bad_toml_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    with pytest.raises(UserError, match=r"pyproject.toml: is not valid TOML: .*; mend it"):
        read_config(tmp_path)


def test_the_specifications_are_the_scripts_of_the_models_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Config().specs() == []
    (tmp_path / "models").mkdir()
    for name in ("b.py", "a.py", "_helpers.py", ".hidden.py", "a.mltk.zip", "notes.txt"):
        (tmp_path / "models" / name).touch()
    assert Config().specs() == ["models/a.py", "models/b.py"]
