"""Specification scripts: each run on its own, from its source as it is now, with errors that show the line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from doit_tflm.errors import UserError
from doit_tflm.script import Script, loaded, user_code

SPEC = "from doit_tflm import ModelSpec\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project, the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    return tmp_path


def write(path: str, text: str) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def failure(path: str) -> UserError:
    """Return the error of a script that fails."""
    with pytest.raises(UserError) as caught, loaded(path):
        pass
    return caught.value


def value(path: str, name: str = "VALUE") -> object:
    with loaded(path) as script:
        return getattr(script.module, name)


@pytest.mark.usefixtures("root")
def test_a_script_is_run_by_its_path_and_its_stem_is_the_name() -> None:
    with loaded(write("models/kws.py", f"{SPEC}spec = ModelSpec(version=3)\n")) as script:
        assert isinstance(script, Script)
        assert (script.path, script.spec.name, script.spec.version) == ("models/kws.py", "kws", 3)
        assert script.module.__file__ == os.path.abspath("models/kws.py")


@pytest.mark.usefixtures("root")
def test_names_that_are_no_identifiers_can_be_names_of_models() -> None:
    for name in ("hello-world", "3d", "class", "numpy", "os", "modèle", "a.b"):
        with loaded(write(f"models/{name}.py", f"{SPEC}spec = ModelSpec()\n")) as script:
            assert script.spec.name == name
    assert os is sys.modules["os"]


@pytest.mark.usefixtures("root")
def test_scripts_have_module_names_of_their_own() -> None:
    text = f"{SPEC}spec = ModelSpec()\nNAME = __name__\n"
    names = {value(write(path, text), "NAME") for path in ("models/a.py", "models/b.py", "other/a.py")}
    assert len(names) == 3
    assert value("models/a.py", "NAME") == value("./models/../models/a.py", "NAME")


@pytest.mark.usefixtures("root")
def test_a_script_s_module_is_imported_while_it_is_used_and_forgotten_then() -> None:
    with loaded(write("models/a.py", f"{SPEC}spec = ModelSpec()\n")) as script:
        assert sys.modules[script.module.__name__] is script.module
    assert script.module.__name__ not in sys.modules


@pytest.mark.usefixtures("root")
def test_helpers_of_the_same_name_in_two_directories_are_two() -> None:
    text = f"{SPEC}import helpers\nspec = ModelSpec()\nVALUE = helpers.VALUE\n"
    for name in ("one", "two"):
        write(f"{name}/helpers.py", f"VALUE = {name!r}\n")
        write(f"{name}/a.py", text)
    assert [value("one/a.py"), value("two/a.py"), value("one/a.py")] == ["one", "two", "one"]


@pytest.mark.usefixtures("root")
def test_modules_of_the_project_and_beside_the_script_are_found() -> None:
    write("shared.py", "VALUE = 'project'\n")
    write("models/shared.py", "VALUE = 'beside'\n")
    write("lib/deep/audio.py", "VALUE = 'namespace package'\n")
    write("pkg/__init__.py", "from pkg.inner import VALUE\n")
    write("pkg/inner.py", "VALUE = 'package'\n")
    text = (
        "import shared, pkg, lib.deep.audio as a\nVALUE = shared.VALUE, pkg.VALUE, a.VALUE\nspec = ModelSpec()\n"
    )
    assert value(write("models/a.py", SPEC + text)) == ("beside", "package", "namespace package")


@pytest.mark.usefixtures("root")
def test_the_user_s_modules_are_reported_and_no_others() -> None:
    write("shared.py", "import json\n")
    write("pkg/__init__.py", "")
    write("pkg/inner.py", "")
    write("pkg/unused.py", "")
    write("late.py", "")
    with loaded(write("models/a.py", f"{SPEC}import shared, pkg.inner, json\nspec = ModelSpec()\n")) as script:
        here = [os.path.relpath(f) for f in script.own_modules() if f.startswith(os.getcwd())]
        assert here == ["models/a.py", "pkg/__init__.py", "pkg/inner.py", "shared.py"]
        import late  # type: ignore[import-not-found]  # noqa: F401 - what a dataset imports when it runs

        assert os.path.abspath("late.py") in script.own_modules()
        assert not any("json" in file or "doit_tflm" in Path(file).parts for file in script.own_modules())
    assert not {"shared", "pkg", "pkg.inner", "late"} & set(sys.modules)


@pytest.mark.usefixtures("root")
def test_packages_without_an_init_are_forgotten_as_well() -> None:
    text = f"{SPEC}from lib import audio\nspec = ModelSpec()\nVALUE = audio.VALUE\n"
    for name in ("one", "two"):
        write(f"{name}/lib/audio.py", f"VALUE = {name!r}\n")
        write(f"{name}/a.py", text)
    assert [value("one/a.py"), value("two/a.py")] == ["one", "two"]
    assert "lib" not in sys.modules


def test_a_script_is_the_first_thing_that_a_process_does(root: Path) -> None:
    path = write("models/a.py", f"{SPEC}import helpers, sysconfig\nspec = ModelSpec()\n")
    write("helpers.py", "")
    code = "import sys\nfrom doit_tflm.script import loaded\nwith loaded(sys.argv[1]): print('fine')\n"
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False, cwd=root
    )
    assert done.stdout == "fine\n", done.stderr


# Errors


@pytest.mark.usefixtures("root")
def test_a_missing_script_is_an_error() -> None:
    assert str(failure("models/a.py")) == (
        "models/a.py: there is no such specification; write it, or name another model"
    )
    Path("models/b.py").mkdir()
    assert "there is no such specification" in str(failure("models/b.py"))


@pytest.mark.usefixtures("root")
def test_a_script_without_a_model_spec_is_an_error() -> None:
    assert str(failure(write("models/a.py", SPEC))).startswith("models/a.py: defines no ModelSpec; write my_model")
    assert "defines no ModelSpec" in str(failure(write("models/b.py", "")))


@pytest.mark.usefixtures("root")
def test_two_model_specs_are_an_error_that_names_both() -> None:
    error = failure(write("models/a.py", f"{SPEC}first = ModelSpec()\nsecond = ModelSpec()\n"))
    assert str(error) == (
        "models/a.py: defines more than one ModelSpec (first and second); give each a script of its own"
    )


@pytest.mark.usefixtures("root")
def test_one_model_spec_may_have_two_names() -> None:
    with loaded(write("models/a.py", f"{SPEC}spec = my_model = ModelSpec(version=5)\n")) as script:
        assert script.spec.version == 5


@pytest.mark.usefixtures("root")
def test_a_syntax_error_shows_the_line() -> None:
    error = failure(write("models/a.py", f"{SPEC}spec = ModelSpec(\n"))
    assert (error.where, error.what, error.fix) == ("models/a.py", "does not compile", "mend it")
    assert "line 2" in error.detail
    assert "spec = ModelSpec(" in error.detail
    assert "SyntaxError: '(' was never closed" in error.detail


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("content", [b"a = '\xff'\n", b"a = 1\0\n", b"# coding: nonsense\n"])
def test_a_file_that_is_no_python_is_an_error(content: bytes) -> None:
    Path("models/a.py").write_bytes(content)
    assert failure("models/a.py").where == "models/a.py"


@pytest.mark.usefixtures("root")
def test_an_exception_shows_the_user_s_frames_only() -> None:
    write("helpers.py", "import json\n\n\ndef parse(text):\n    return json.loads(text)\n")
    error = failure(write("models/a.py", f"{SPEC}import helpers\n\nspec = ModelSpec()\nhelpers.parse('{{')\n"))
    assert error.what.startswith("raised JSONDecodeError: Expecting property name")
    assert error.where == "models/a.py"
    frames = [line.strip() for line in error.detail.splitlines() if line.startswith("  File")]
    assert frames == [
        'File "models/a.py", line 5, in <module>',
        'File "helpers.py", line 5, in parse',
    ]
    assert "helpers.parse('{')" in error.detail
    assert error.detail.rstrip().splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting")
    assert os.getcwd() not in str(error)


@pytest.mark.usefixtures("root")
def test_an_exit_of_the_script_is_an_error() -> None:
    error = failure(write("models/a.py", "import sys\nsys.exit('no data')\n"))
    assert error.what == "raised SystemExit: no data"
    assert 'File "models/a.py", line 2' in error.detail


@pytest.mark.usefixtures("root")
def test_a_module_that_is_missing_is_an_error_that_names_it() -> None:
    assert "No module named 'nosuch'" in failure(write("models/a.py", "import nosuch\n")).what


@pytest.mark.usefixtures("root")
def test_a_keyboard_interrupt_is_not_swallowed() -> None:
    with pytest.raises(KeyboardInterrupt), loaded(write("models/a.py", "raise KeyboardInterrupt\n")):
        pass


@pytest.mark.usefixtures("root")
def test_a_wrong_setting_is_an_error_at_its_line() -> None:
    text = f"{SPEC}spec = ModelSpec()\n\nspec.tflite_converter['optimizations'] = 'DEFAULT'\n"
    error = failure(write("models/a.py", text))
    assert str(error) == (
        "models/a.py:4: tflite_converter['optimizations'] is 'DEFAULT', which is not a list; write ['DEFAULT']"
    )


@pytest.mark.usefixtures("root")
def test_a_wrong_attribute_is_an_error_at_its_line_also_in_a_helper() -> None:
    write("helpers.py", f"{SPEC}\n\ndef make():\n    return ModelSpec(epoch=3)\n")
    error = failure(write("models/a.py", "import helpers\nspec = helpers.make()\n"))
    assert str(error) == "helpers.py:5: a ModelSpec has no attribute 'epoch'; did you mean 'epochs'?"


@pytest.mark.usefixtures("root")
def test_what_user_code_was_doing_is_said() -> None:
    text = f"{SPEC}spec = ModelSpec()\ndef load(subset):\n    return 1 / 0\nspec.dataset = load\n"
    with loaded(write("models/a.py", text)) as script:
        assert script.spec.dataset is not None
        with pytest.raises(UserError) as caught, user_code(script.path, 'dataset("training") '):
            script.spec.dataset("training")
    assert caught.value.what == 'dataset("training") raised ZeroDivisionError: division by zero'
    assert 'File "models/a.py", line 4, in load\n    return 1 / 0' in caught.value.detail


# What is restored and what is read again


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("ending", ["", "raise ValueError\n"])
def test_the_process_is_as_before_whether_the_script_fails_or_not(ending: str) -> None:
    write("helpers.py", "import sys\nsys.path.append('/elsewhere')\n")
    path = write("models/a.py", f"{SPEC}import helpers\nspec = ModelSpec()\n{ending}")
    before = list(sys.path), dict(sys.modules), list(sys.meta_path)
    if ending:
        failure(path)
    else:
        with loaded(path):
            assert sys.path[:2] == [os.path.abspath("models"), os.getcwd()]
    assert (list(sys.path), dict(sys.modules), list(sys.meta_path)) == before


@pytest.mark.usefixtures("root")
def test_a_failure_in_the_block_restores_as_well() -> None:
    path = write("models/a.py", f"{SPEC}spec = ModelSpec()\n")
    before = list(sys.path), list(sys.meta_path)
    with pytest.raises(ZeroDivisionError), loaded(path):
        _ = 1 / 0
    assert (list(sys.path), list(sys.meta_path)) == before
    from doit_tflm import ModelSpec

    assert ModelSpec().name == ""


@pytest.mark.parametrize("ending", ["", "raise ValueError\n"])
def test_the_current_directory_stays(root: Path, ending: str) -> None:
    text = f"{SPEC}import os\nspec = ModelSpec()\nos.chdir('models')\n{ending}"
    error = failure(write("models/a.py", text))
    if ending:
        assert 'File "models/a.py", line 5' in error.detail
    else:
        assert str(error) == (
            "models/a.py: changes the current directory; leave it, and build paths from Path(__file__).parent"
        )
    assert Path.cwd() == root


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("edited", ["models/a.py", "helpers.py"])
def test_an_edit_of_the_same_size_and_date_is_seen(edited: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    write("helpers.py", "VALUE = 1\n")
    write("models/a.py", f"{SPEC}import helpers\nspec = ModelSpec()\nOWN = 1\nVALUE = helpers.VALUE, OWN\n")
    os.utime(edited, ns=(10**18, 10**18))
    assert value("models/a.py") == (1, 1)
    text = Path(edited).read_text()
    Path(edited).write_text(text.replace("OWN = 1", "OWN = 2") if "OWN" in text else "VALUE = 2\n")
    os.utime(edited, ns=(10**18, 10**18))
    assert value("models/a.py") == ((1, 2) if "OWN" in text else (2, 1))


@pytest.mark.usefixtures("root")
def test_a_stale_pyc_is_not_believed() -> None:
    import py_compile

    path = write("helpers.py", "VALUE = 1\n")
    os.utime(path, ns=(10**18, 10**18))
    py_compile.compile(path)
    write(path, "VALUE = 2\n")
    os.utime(path, ns=(10**18, 10**18))
    text = f"{SPEC}import helpers\nspec = ModelSpec()\nVALUE = helpers.VALUE\n"
    assert value(write("models/a.py", text)) == 2


@pytest.mark.usefixtures("root")
def test_a_helper_that_has_just_been_added_is_found() -> None:
    path = write("models/a.py", f"{SPEC}import helpers\nspec = ModelSpec()\nVALUE = helpers.VALUE\n")
    failure(path)
    write("models/helpers.py", "VALUE = 1\n")
    assert value(path) == 1


@pytest.mark.parametrize("without", [True, False])
def test_no_pycache_is_left_behind(root: Path, monkeypatch: pytest.MonkeyPatch, without: bool) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", without)
    write("helpers.py", "VALUE = 1\n")
    write("pkg/__init__.py", "")
    assert value(write("models/a.py", f"{SPEC}import helpers, pkg\nspec = ModelSpec()\nVALUE = 1\n")) == 1
    assert list(root.rglob("__pycache__")) == []


@pytest.mark.usefixtures("root")
def test_random_numbers_are_the_same_in_each_run() -> None:
    text = f"{SPEC}import random, numpy\nspec = ModelSpec()\nVALUE = random.random(), numpy.random.rand()\n"
    path = write("models/a.py", text)
    import numpy  # noqa: F401, ICN001 - as the stages do, so that it is seeded

    assert value(path) == value(path)


@pytest.mark.usefixtures("root")
def test_a_script_has_its_own_future_statements() -> None:
    text = f"{SPEC}spec = ModelSpec()\ndef f(a: 1 + 1): ...\nVALUE = f.__annotations__['a']\n"
    assert value(write("models/a.py", text)) == 2
