"""`doit firmware`: what is built, what is built again, and what is said where something is missing or fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from firmware_builds import BOARDS, FIRMWARE, need
from firmware_projects import ARM, give_firmware, path_without, run_doit, up_to_date

from conftest import Project

SCRIPT = "models/kws.py"
SECTION = 'my_model.epochs = 3\nmy_model.header.section = ".model"'


@pytest.fixture
def host(built: Project) -> Project:
    """Return a project with a firmware for this machine."""
    return give_firmware(built, "host")


def sizes(project: Project, preset: str = "host") -> bytes:
    return project.path(f"build/firmware/{preset}.sizes.json").read_bytes()


def made(project: Project) -> dict[str, int]:
    """Return when each object, library and program of the firmware was written."""
    root = project.path("build/firmware/host")
    found = [*root.rglob("*.o"), *root.rglob("*.a"), *root.glob("selfcheck_*")]
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in found}


# What it builds.


def test_every_preset_is_built_and_then_nothing_is_to_do(built: Project) -> None:
    need(*ARM[:1])
    give_firmware(built)
    run = run_doit(built, "firmware")
    lines = [line for line in run.out.splitlines() if ": build " in line]
    assert sorted(line.split("  ")[0] for line in lines) == sorted(f"{preset}: build" for preset in BOARDS)
    assert all("(selfcheck_kws linked)" in line for line in lines)
    table = run.out.split("\n\n")[1].splitlines()
    assert [line.split()[:2] for line in table[1:]] == [[preset, "selfcheck_kws"] for preset in BOARDS]
    assert run_doit(built, "firmware").out == up_to_date(*BOARDS)


def test_arrays_that_are_missing_are_built_first(project: Project) -> None:
    give_firmware(project, "host")
    run = run_doit(project, "firmware")
    assert run.out.index("kws: header") < run.out.index("host: build")
    assert "kws: archive" not in run.out, "no program needs the archive"


def test_neither_doit_alone_nor_quantize_builds_firmware(host: Project) -> None:
    for arguments in ([], ["quantize"]):
        assert run_doit(host, *arguments).out == "1 model is up to date\n"
    assert not host.path("build/firmware").exists()


def test_doit_list_says_what_the_tasks_are_for(host: Project) -> None:
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in run_doit(host, "list").out.splitlines()}
    assert lines["firmware"] == "build the programs that hold the models, for every preset"
    assert {"firmware:test", "firmware:sizes"} <= lines.keys()
    names = [line.split()[0] for line in run_doit(host, "list", "--all").out.splitlines()]
    assert {"firmware:host", "firmware:test:host"} <= set(names)


def test_a_dodo_may_name_another_directory(built: Project) -> None:
    give_firmware(built, "host", own=True)
    built.path("firmware").rename(built.path("app"))
    built.edit("pyproject.toml", 'directory = "firmware"\n', 'directory = "gone"\n')
    built.edit("dodo.py", "firmware_tasks()", 'firmware_tasks("./app")')
    assert "host: build" in run_doit(built, "firmware").out


def test_presets_are_built_side_by_side(built: Project) -> None:
    need(*ARM[:1])
    give_firmware(built)
    assert run_doit(built, "-n", "3", "firmware").out.count(": build ") == 3
    assert run_doit(built, "-n", "3", "-P", "process", "firmware").out == up_to_date(*BOARDS)


def test_doit_clean_removes_what_firmware_built(host: Project) -> None:
    run_doit(host, "firmware:test")
    run_doit(host, "clean", "firmware", "firmware:test")
    assert list(host.path("build/firmware").glob("*")) == []
    assert host.path("build/kws/kws.tflite").exists()


def test_a_program_that_the_project_leaves_out_of_a_build_is_left_out(built: Project) -> None:
    give_firmware(built, "host", own=True)
    built.write("firmware/late.c", "int main(void) { return 0; }\n")
    more = "enable_testing()\nadd_executable(late EXCLUDE_FROM_ALL late.c)\n"
    built.edit("firmware/CMakeLists.txt", "enable_testing()\n", more)
    assert "(selfcheck_kws linked)" in run_doit(built, "firmware").out
    assert list(json.loads(sizes(built))["programs"]) == ["selfcheck_kws"]
    assert "read back out of 1 program" in run_doit(built, "firmware:test").out


# What it builds again.


def test_an_edit_of_one_models_header_compiles_and_links_only_that(make_project: Callable[..., Project]) -> None:
    project = give_firmware(make_project(models=("kws", "sine")), "host")
    run_doit(project, "firmware")
    before = made(project)
    project.edit(SCRIPT, "my_model.epochs = 3", SECTION)
    run = run_doit(project, "firmware")
    assert run.stages == ["spec", "header", "build"]
    assert "host: build      (selfcheck_kws linked)" in run.out
    after = made(project)
    changed = {name for name in after if after[name] != before[name]}
    assert changed >= {"libmodel_kws.a", "selfcheck_kws"}
    assert not [name for name in changed if "sine" in name]
    assert len(changed) < len(after) / 2


def test_an_edit_that_changes_no_array_links_nothing(host: Project) -> None:
    run_doit(host, "firmware")
    host.edit(SCRIPT, "SCALE = 1.0\n", "SCALE = 1.0  # a comment\n")
    run = run_doit(host, "firmware")
    assert run.stages == ["spec"]
    assert run.out.endswith("firmware for host is up to date\n")


def test_a_larger_program_is_shown_with_by_how_much(host: Project) -> None:
    run_doit(host, "firmware")
    before = json.loads(sizes(host))["sizes"]["selfcheck_kws"]
    host.edit(SCRIPT, '"a test model"', f'"{"a longer text " * 20}"')
    out = run_doit(host, "firmware").out
    after = json.loads(sizes(host))["sizes"]["selfcheck_kws"]
    more = after["model"] - before["model"]
    assert more > 200
    assert f"{after['model']:,} (+{more})" in out
    assert f"(+{more})" in run_doit(host, "firmware:sizes").out, "the last two builds are kept"


def test_equal_builds_keep_equal_sizes(host: Project, template: Project, tmp_path: Path) -> None:
    run_doit(host, "firmware")
    first = sizes(host)
    run_doit(host, "clean", "firmware")
    run_doit(host, "firmware")
    assert sizes(host) == first
    other = give_firmware(template.copy_to(tmp_path / "another/place"), "host")
    run_doit(other, "firmware")
    assert json.loads(sizes(other))["sizes"] == json.loads(first)["sizes"]
    assert str(host.root).encode() not in first


def test_sizes_whose_writing_was_killed_are_measured_again(host: Project) -> None:
    run_doit(host, "firmware")
    first = sizes(host)
    host.path("build/firmware/host.sizes.json").unlink()
    assert "host: build" in run_doit(host, "firmware").out
    assert sizes(host) == first


def test_a_program_that_another_hand_has_changed_is_linked_again(host: Project) -> None:
    run_doit(host, "firmware")
    program = host.path("build/firmware/host/selfcheck_kws")
    linked = program.read_bytes()
    program.write_bytes(linked.replace(b"a test model", b"a test mdoel"))
    run_doit(host, "firmware")
    assert program.read_bytes() == linked


def test_an_arena_that_is_another_is_shown_though_no_program_changed(host: Project) -> None:
    run_doit(host, "firmware")
    first = json.loads(sizes(host))
    other = json.loads(sizes(host))
    other["arenas"]["g_kws_model_data"] = other["sizes"]["selfcheck_kws"]["arena"] = 1
    host.write("build/firmware/host.sizes.json", json.dumps(other))
    assert run_doit(host, "firmware").out == up_to_date("host")
    assert json.loads(sizes(host))["sizes"] == first["sizes"]


def test_a_build_directory_that_was_configured_by_hand_is_configured_again(host: Project) -> None:
    run_doit(host, "firmware")
    cache = host.path("build/firmware/host/CMakeCache.txt")
    cache.write_text(cache.read_text().replace("MODELS:STRING=kws", "MODELS:STRING=gone"))
    assert run_doit(host, "firmware").out == up_to_date("host")
    assert "MODELS:STRING=kws\n" in cache.read_text() or "MODELS:UNINITIALIZED=kws\n" in cache.read_text()


def test_flags_of_the_environment_that_are_others_are_used(host: Project) -> None:
    run_doit(host, "firmware", CFLAGS="-DONE")
    run_doit(host, "firmware", CFLAGS="-DTWO")
    text = host.path("build/firmware/host/build.ninja").read_text()
    assert "-DTWO" in text
    assert "-DONE" not in text
    assert run_doit(host, "firmware", CFLAGS="-DTWO").out == up_to_date("host")


def test_flags_of_the_toolchain_file_that_are_others_are_used(built: Project) -> None:
    need(*ARM[:1])
    give_firmware(built, "cortex-m3", own=True)
    run_doit(built, "firmware")
    built.edit("firmware/cmake/cortex-m.cmake", "-mcpu=cortex-m3 -mthumb", "-mcpu=cortex-m4 -mthumb")
    assert "cortex-m3: build " in run_doit(built, "firmware").out
    assert "-mcpu=cortex-m4" in built.path("build/firmware/cortex-m3/build.ninja").read_text()


def test_a_model_that_is_new_gets_its_program_and_one_that_is_gone_loses_it(host: Project) -> None:
    run_doit(host, "firmware")
    host.add_model("sine")
    assert "selfcheck_sine linked" in run_doit(host, "firmware").out
    host.path("models/sine.py").unlink()
    host.path("models/sine.mltk.zip").unlink()
    run_doit(host, "firmware")
    assert list(json.loads(sizes(host))["programs"]) == ["selfcheck_kws"]
    assert "sine" not in run_doit(host, "firmware:test").out


# What fails.


def test_a_compiler_error_is_shown_with_its_log(built: Project) -> None:
    give_firmware(built, "host", own=True)
    built.edit("firmware/src/selfcheck_main.c", "int main(", "int 1main(")
    run = run_doit(built, "firmware", code=1)
    assert "host: build failed\n  build/firmware/host: does not build; mend what it says\n" in run.out
    assert "selfcheck_main.c" in run.out
    assert "log: build/firmware/host.log" in run.out
    assert "selfcheck_main.c" in built.path("build/firmware/host.log").read_text()
    built.edit("firmware/src/selfcheck_main.c", "int 1main(", "int main(")
    assert "host: build      (selfcheck_kws linked)" in run_doit(built, "firmware").out


def test_a_model_that_fails_keeps_the_programs_from_being_built(host: Project) -> None:
    host.edit(SCRIPT, "inference_input_type", "inference_imput_type")
    run = run_doit(host, "firmware", code=1)
    assert "did you mean 'inference_input_type'" in run.out
    assert "host: build  " not in run.out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["host"]', '["hots"]', "there is no preset 'hots'; there are host, cortex-m3, cortex-m7"),
        (str(FIRMWARE), "gone", "gone/CMakePresets.json: is not there; set `directory`"),
    ],
)
def test_a_preset_or_directory_that_is_not_there_stops_the_firmware_but_no_model(
    old: str, new: str, message: str, host: Project
) -> None:
    presets = "" if new == "gone" else "presets = ['host']"
    host.edit("pyproject.toml", "presets = ['host']", presets)
    host.edit("pyproject.toml", old.replace('"', "'"), new.replace('"', "'"))
    assert message in run_doit(host, "firmware", code=1).out
    assert run_doit(host, "quantize").out == "1 model is up to date\n"


def test_sources_in_a_directory_of_their_own_are_said_to_be_missing(host: Project) -> None:
    host.edit(SCRIPT, "epochs = 3", 'epochs = 3\nmy_model.header.directory = "elsewhere"')
    out = run_doit(host, "firmware", code=1).out
    assert "firmware/generated/kws_model_data.h: the sources of kws are not there" in out
    assert "leave 'kws' out of `models`" in out


def test_models_that_are_not_there_are_refused(host: Project) -> None:
    host.edit("pyproject.toml", "presets", 'models = ["sine"]\npresets')
    run = run_doit(host, "firmware", code=1)
    assert run.err == (
        "ERROR: pyproject.toml: [tool.doit-tflm.firmware] models names 'sine', but the models are kws\n"
    )


# Where a tool is missing.


def test_a_preset_whose_compiler_is_missing_is_skipped_with_a_line(built: Project, tmp_path: Path) -> None:
    give_firmware(built)
    run = run_doit(built, "firmware", PATH=path_without(tmp_path / "bin", *ARM))
    packages = "gcc-arm-none-eabi libnewlib-arm-none-eabi"
    for preset in ("cortex-m3", "cortex-m7"):
        line = f"{preset}: build skipped: arm-none-eabi-gcc is not installed; Debian: apt install {packages}"
        assert line in run.out.splitlines()
    assert "host: build      (selfcheck_kws linked)" in run.out


def test_a_preset_that_was_asked_for_by_name_fails_without_its_compiler(built: Project, tmp_path: Path) -> None:
    give_firmware(built)
    run = run_doit(built, "firmware:cortex-m3", code=1, PATH=path_without(tmp_path / "bin", *ARM))
    assert (
        "cortex-m3: build failed\n  cortex-m3: arm-none-eabi-gcc is not installed; Debian: apt install" in run.out
    )
    assert "skipped" not in run.out


def test_all_that_is_missing_is_named_at_once(built: Project, tmp_path: Path) -> None:
    give_firmware(built, "cortex-m3")
    path = path_without(tmp_path / "bin", "cmake", "ninja", *ARM)
    (line,) = (line for line in run_doit(built, "firmware", PATH=path).out.splitlines() if "skipped" in line)
    assert "cmake and ninja and arm-none-eabi-gcc are not installed" in line
    assert "cmake ninja-build gcc-arm-none-eabi" in line
