"""The CMake module, in a project with Ninja and with Unix Makefiles: what each change makes it do."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cmake_project import FIND, GENERATORS, MODULE_DIR, CMakeProject
from conftest import Project
from doit_tflm import c_text

MODELS = ["kws", "vww"]
EITHER = pytest.mark.parametrize("generator", GENERATORS)

pytestmark = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in ("cmake", "ninja", "make", "cc")),
    reason="needs cmake, ninja, make and a C compiler",
)


@pytest.fixture(scope="module")
def two_models(template: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with two models that are built."""
    project = template.copy_to(tmp_path_factory.mktemp("models") / "project")
    project.add_model("vww", weights=b"other weights")
    project.build()
    return project


@pytest.fixture
def models(two_models: Project, tmp_path: Path) -> Project:
    # Make and Ninja read a space in depfiles, if it is written as they want it.
    return two_models.copy_to(tmp_path / "my models")


@pytest.fixture
def make_firmware(models: Project, tmp_path: Path) -> Callable[..., CMakeProject]:
    def make(generator: str, name: str = "my app", **how: str) -> CMakeProject:
        firmware = CMakeProject(tmp_path / name, MODELS, models.root, generator)
        firmware.write(**how)
        return firmware

    return make


@pytest.fixture
def firmware(make_firmware: Callable[..., CMakeProject], generator: str) -> CMakeProject:
    """Return a firmware that is built."""
    firmware = make_firmware(generator)
    done = firmware.configure()
    assert done.returncode == 0, done.stderr
    first = firmware.build()
    assert first.code == 0, first.out
    assert first.compiled == ["kws_model_data.c", "main.c", "use_kws.c", "use_vww.c", "vww_model_data.c"]
    assert first.pythons == 1
    return firmware


def arrays(firmware: CMakeProject) -> Path:
    return firmware.build_dir / "doit_tflm" / "app"


def assert_idle(firmware: CMakeProject) -> None:
    again = firmware.build()
    assert (again.code, again.pythons, again.compiled) == (0, 0, []), again.out


@EITHER
def test_configuring_runs_no_python(make_firmware: Callable[..., CMakeProject], generator: str) -> None:
    firmware = make_firmware(generator)
    assert firmware.configure().returncode == 0
    assert not (firmware.build_dir / "doit-tflm.log").exists()


@EITHER
def test_a_build_that_needs_nothing_starts_no_python_and_compiles_nothing(firmware: CMakeProject) -> None:
    assert_idle(firmware)


def test_a_build_that_needs_nothing_starts_no_process_at_all_with_ninja(
    make_firmware: Callable[..., CMakeProject],
) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    firmware = make_firmware("Ninja")
    firmware.configure()
    firmware.build()
    trace = firmware.root / "trace"
    done = subprocess.run(
        ["strace", "-f", "-e", "trace=execve", "-o", trace, *firmware.command], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("processes cannot be traced here")
    assert trace.read_text().count("execve(") == 1  # ninja


@EITHER
def test_a_comment_runs_one_stage_and_compiles_nothing(firmware: CMakeProject, models: Project) -> None:
    models.edit("models/kws.py", "SCALE = 1.0", "SCALE = 1.0  # a comment")
    done = firmware.build()
    assert (done.code, done.stages, done.compiled) == (0, ["kws:spec"], [])
    assert_idle(firmware)


@EITHER
def test_a_setting_runs_that_models_stages_and_compiles_its_array_and_users(
    firmware: CMakeProject, models: Project
) -> None:
    models.edit("models/kws.py", '_output_type"] = "int8"', '_output_type"] = "float32"')
    done = firmware.build()
    assert sorted(done.stages) == [
        f"kws:{stage}" for stage in ("archive", "embed", "header", "quantize", "spec", "verify")
    ]
    assert done.compiled == ["kws_model_data.c", "use_kws.c"]
    assert_idle(firmware)


@EITHER
def test_new_weights_and_touched_weights_are_told_apart(firmware: CMakeProject, models: Project) -> None:
    models.path("models/vww.mltk.zip").touch()
    done = firmware.build()
    assert (done.pythons, done.stages, done.compiled) == (1, [], [])
    assert_idle(firmware)
    models.add_model("vww", weights=b"new weights")
    done = firmware.build()
    assert "vww:calibrate" in done.stages
    assert done.compiled == ["use_vww.c", "vww_model_data.c"]
    assert_idle(firmware)


@EITHER
@pytest.mark.parametrize("name", ["kws_model_data.c", "kws_model_data.h", "kws_op_resolver.h"])
def test_a_deleted_source_is_there_again(firmware: CMakeProject, name: str) -> None:
    path = arrays(firmware) / name
    content = path.read_bytes()
    path.unlink()
    done = firmware.build()
    assert (done.code, done.pythons) == (0, 0), done.out
    assert path.read_bytes() == content
    assert set(done.compiled) <= {"kws_model_data.c", "use_kws.c"}
    assert_idle(firmware)


@EITHER
def test_a_model_that_was_built_on_the_command_line_is_taken_over(firmware: CMakeProject, models: Project) -> None:
    models.edit("models/kws.py", "version=1", "version=2")
    models.build()
    done = firmware.build()
    assert (done.stages, done.compiled) == ([], ["kws_model_data.c", "use_kws.c"])
    assert_idle(firmware)


@EITHER
def test_a_module_and_a_data_file_that_a_specification_reads_count(
    firmware: CMakeProject, models: Project
) -> None:
    models.write("models/_scale.py", "from pathlib import Path\n\nSCALE = float(Path('scale.txt').read_text())\n")
    models.write("scale.txt", "1.0")
    models.edit("models/kws.py", "SCALE = 1.0", "from _scale import SCALE")
    firmware.build()
    assert_idle(firmware)
    models.write("scale.txt", "2.0")
    assert "kws:sample" in firmware.build().stages
    models.edit("models/_scale.py", "float(", "0.5 * float(")
    assert "kws:sample" in firmware.build().stages
    assert_idle(firmware)


@EITHER
def test_a_new_file_that_a_glob_of_the_specification_matches_counts(
    firmware: CMakeProject, models: Project
) -> None:
    models.write("data/one.csv", "1")
    models.edit("models/kws.py", "my_model.epochs = 3", 'my_model.data_files = ["data/*.csv"]')
    firmware.build()
    assert_idle(firmware)
    models.write("data/two.csv", "2")
    assert "kws:spec" in firmware.build().stages
    assert_idle(firmware)


@EITHER
def test_a_specification_that_is_edited_while_it_is_built_is_built_again(
    firmware: CMakeProject, models: Project
) -> None:
    models.write("hold-calibration", "")
    models.add_model("kws", weights=b"new weights")
    started = threading.Thread(target=firmware.build)
    started.start()
    while not models.path("calibrating").exists():
        assert started.is_alive()
    models.edit("models/kws.py", "version=1", "version=2")
    models.path("hold-calibration").unlink()
    started.join()
    firmware.build()
    assert "define KWS_MODEL_VERSION 2" in (arrays(firmware) / "kws_model_data.h").read_text()
    assert_idle(firmware)


@EITHER
def test_a_mistake_fails_the_build_with_its_message_and_the_next_build_mends_it(
    firmware: CMakeProject, models: Project
) -> None:
    before = (arrays(firmware) / "kws_model_data.c").read_bytes()
    models.edit("models/kws.py", "version=1", "verson=1")
    done = firmware.build()
    assert done.code != 0
    assert "a ModelSpec has no attribute 'verson'; did you mean 'version'?" in done.out
    assert "Traceback" not in done.out
    assert (arrays(firmware) / "kws_model_data.c").read_bytes() == before
    models.edit("models/kws.py", "verson=1", "version=1")
    done = firmware.build()
    assert (done.code, done.compiled) == (0, [])
    assert_idle(firmware)


@EITHER
def test_golden_vectors_and_a_programs_resolver_are_added_where_they_are_asked_for(
    make_firmware: Callable[..., CMakeProject], models: Project, generator: str
) -> None:
    with models.path("pyproject.toml").open("a") as stream:
        stream.write('[tool.doit-tflm.programs]\nmy-app = ["kws", "vww"]\n')
    add = 'tflm_add_models(TARGET app MODELS {models} PROJECT_DIR "{project}" GOLDEN PROGRAM my-app)'
    firmware = make_firmware(generator, add=add)
    assert firmware.configure().returncode == 0
    done = firmware.build()
    assert done.code == 0, done.out
    assert {"kws_golden.c", "vww_golden.c"} <= {*done.compiled}
    assert (arrays(firmware) / "my_app_op_resolver.h").exists()
    assert_idle(firmware)


def test_two_firmwares_and_a_command_line_build_the_same_models_at_once(
    make_firmware: Callable[..., CMakeProject], models: Project
) -> None:
    firmwares = [make_firmware(generator, f"app {generator}") for generator in GENERATORS]
    for one in firmwares:
        one.configure()
        assert one.build().code == 0
    for version in (2, 3):
        for name in MODELS:
            models.edit(f"models/{name}.py", f"version={version - 1}", f"version={version}")
        with ThreadPoolExecutor() as pool:
            builds = [pool.submit(one.build) for one in firmwares]
            command_line = pool.submit(models.doit, "quantize")
            assert [one.result().code for one in (*builds, command_line)] == [0, 0, 0]
        for one in firmwares:
            assert f"define VWW_MODEL_VERSION {version}\n" in (arrays(one) / "vww_model_data.h").read_text()
            for name in MODELS:
                for suffix in "hc":
                    file = f"{name}_model_data.{suffix}"
                    made = models.path(f"firmware/generated/{file}").read_bytes()
                    assert (arrays(one) / file).read_bytes() == made
            assert_idle(one)


def test_ninja_multi_config_builds_too(make_firmware: Callable[..., CMakeProject], models: Project) -> None:
    firmware = make_firmware("Ninja Multi-Config")
    assert firmware.configure().returncode == 0
    firmware.generator = "Ninja"  # which is the tool
    assert firmware.build().code == 0
    models.edit("models/kws.py", "version=1", "version=2")
    assert firmware.build().compiled == ["kws_model_data.c", "use_kws.c"]
    assert_idle(firmware)


@pytest.mark.parametrize(
    ("how", "options", "message"),
    [
        ({"add": "tflm_add_models(TARGET nothing MODELS kws)"}, [], 'TARGET is "nothing", but must be a target'),
        (
            {"add": "tflm_add_models(TARGET app MODELS kws)\ntflm_add_models(TARGET app MODELS vww)"},
            [],
            "app has the models kws: name all of them in one call",
        ),
        ({"add": "tflm_add_models(TARGET app)"}, [], "name the models: MODELS sine kws"),
        (
            {"add": "tflm_add_models(TARGET app MODELS kws FORM zip)"},
            [],
            'FORM is "zip": use pair, single or incbin',
        ),
        ({"add": "tflm_add_models(app MODELS kws)"}, [], "tflm_add_models does not know: app"),
        ({}, ["-DDOIT_TFLM_EXECUTABLE="], "activate its environment"),
        ({"find": "find_package(doit_tflm 9.0 REQUIRED)"}, [], "9.0"),
    ],
)
def test_a_mistake_in_the_call_is_told_when_cmake_configures(
    make_firmware: Callable[..., CMakeProject], how: dict[str, str], options: list[str], message: str
) -> None:
    done = make_firmware("Ninja", **how).configure(*options)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_a_form_that_the_specification_does_not_have_is_told(
    make_firmware: Callable[..., CMakeProject],
) -> None:
    firmware = make_firmware(
        "Ninja", add='tflm_add_models(TARGET app MODELS kws PROJECT_DIR "{project}" FORM incbin)'
    )
    firmware.configure()
    done = firmware.build()
    assert done.code != 0
    assert "kws_model_data.S" in done.out
    assert "header.form" in done.out
    assert "Traceback" not in done.out


def test_a_model_that_is_not_there_is_told_when_it_is_built(make_firmware: Callable[..., CMakeProject]) -> None:
    firmware = make_firmware("Ninja", add='tflm_add_models(TARGET app MODELS kws GOLDNE PROJECT_DIR "{project}")')
    assert firmware.configure().returncode == 0
    done = firmware.build()
    assert done.code != 0
    assert "GOLDNE" in done.out
    assert "Traceback" not in done.out


def test_a_path_that_cmake_cannot_write_into_ninjas_depfiles_is_told(two_models: Project, tmp_path: Path) -> None:
    project = two_models.copy_to(tmp_path / "models #1")
    firmware = CMakeProject(tmp_path / "app", MODELS, project.root, "Ninja")
    firmware.write()
    done = firmware.configure()
    assert done.returncode == 0
    assert (
        "models #1: with Ninja, CMake loses the # of a path, and every build asks for the models again"
        in " ".join(done.stderr.split())
    )
    assert firmware.build().code == 0


@pytest.mark.parametrize("find", [FIND, f'list(APPEND CMAKE_MODULE_PATH "{MODULE_DIR}")\ninclude(doit_tflm)'])
def test_the_module_is_found_as_a_package_and_as_a_module(
    make_firmware: Callable[..., CMakeProject], find: str
) -> None:
    firmware = make_firmware("Ninja", find=find)
    assert firmware.configure().returncode == 0
    assert firmware.build().code == 0


def test_cmake_names_the_files_of_a_model_as_python_does(tmp_path: Path) -> None:
    names = [*sorted(c_text._RESERVED), "kws", "2-layer.net", "_x_", "-", "0", "OFF", "int-8"]
    names += ["Größe", "两行", "é", "ä" * 50, "a" * 90, "x" * 70 + "-" + "y" * 20]
    calls = "".join(f'_doit_tflm_identifier("{name}" found)\nmessage("${{found}}")\n' for name in names)
    (tmp_path / "names.cmake").write_text(f'include("{MODULE_DIR}/doit_tflm.cmake")\n{calls}')
    done = subprocess.run(
        ["cmake", "-P", tmp_path / "names.cmake"], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stderr.splitlines() == [c_text.c_identifier(name) for name in names]


# Without Python


def vendor(models: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "doit_tflm", "vendor", *arguments]
    return subprocess.run(
        command, cwd=models.root, env=models.environment(), capture_output=True, text=True, check=False
    )


@EITHER
def test_vendored_models_build_without_python(
    make_firmware: Callable[..., CMakeProject], models: Project, generator: str, tmp_path: Path
) -> None:
    done = vendor(models, str(tmp_path / "vendored"))
    assert done.returncode == 0, done.stderr
    for name in ("models", "build", "firmware"):
        shutil.rmtree(models.path(name))
    find = f'include("{tmp_path}/vendored/doit_tflm.cmake")'
    firmware = make_firmware(generator, find=find)
    done = firmware.configure("-UDOIT_TFLM_EXECUTABLE", "-DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON")
    assert done.returncode == 0, done.stderr
    first = firmware.build()
    assert (first.code, first.pythons) == (0, 0), first.out
    assert_idle(firmware)


def test_vendor_writes_what_changed_and_check_tells_what_is_stale(models: Project) -> None:
    assert vendor(models, "kept", "kws").stdout.count("kept/") == 7
    assert vendor(models, "kept", "kws").stdout.splitlines()[-1] == "kept is current"
    assert vendor(models, "kept", "kws", "--check").returncode == 0
    models.edit("models/kws.py", "version=1", "version=2")
    done = vendor(models, "kept", "kws", "--check")
    assert done.returncode == 1
    assert "kws_model_data.c, kws_model_data.h are not what the models give" in done.stderr
    assert "define KWS_MODEL_VERSION 1" in models.path("kept/kws_model_data.h").read_text()
    vendor(models, "kept", "kws")
    assert "define KWS_MODEL_VERSION 2" in models.path("kept/kws_model_data.h").read_text()
    assert vendor(models, "kept", "kws", "--check").returncode == 0


def test_a_model_that_is_no_longer_vendored_is_removed_unless_it_was_edited(models: Project) -> None:
    vendor(models, "kept")
    with models.path("kept/vww_golden.c").open("a") as stream:
        stream.write("/* by hand */\n")
    vendor(models, "kept", "kws")
    assert [path.name for path in models.path("kept").glob("vww*")] == ["vww_golden.c"]


def test_a_vendored_directory_without_the_model_is_told(
    make_firmware: Callable[..., CMakeProject], models: Project, tmp_path: Path
) -> None:
    vendor(models, str(tmp_path / "vendored"), "kws")
    firmware = make_firmware("Ninja", find=f'include("{tmp_path}/vendored/doit_tflm.cmake")')
    done = firmware.configure()
    assert done.returncode != 0
    assert "holds no vww_model_data.h: run `doit-tflm vendor` again" in " ".join(done.stderr.split())
