"""The self-check of firmware/, on this machine and on the Cortex-M boards that QEMU emulates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from broken_sources import BROKEN, read_pair, write_all, write_pair
from elftools.elf.constants import P_FLAGS, SH_FLAGS
from elftools.elf.elffile import ELFFile
from firmware_builds import BOARDS, FIRMWARE, TOOLCHAIN, Programs, build, configure, must, need, run

from conftest import Project


@pytest.fixture(scope="module", params=list(BOARDS))
def target(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def good(target: str, template: Project, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return build(tmp_path_factory.mktemp(target), target, template.path("firmware/generated"))


@pytest.fixture(scope="module")
def broken(target: str, template: Project, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    directory = tmp_path_factory.mktemp(f"broken-{target}")
    write_all(template.path("firmware/generated"), directory / "generated")
    return build(directory / "build", target, directory / "generated")


# What it says


def test_the_selfcheck_of_a_built_model_passes(good: Programs) -> None:
    assert good.run("selfcheck_kws") == (0, "PASS kws: the array is the model that the header describes\n")


def test_ctest_runs_the_selfcheck(good: Programs) -> None:
    need("ctest", *(["qemu-system-arm"] if good.target != "host" else []))
    assert "100% tests passed, 0 tests failed out of 1" in must("ctest", "--test-dir", good.directory)


@pytest.mark.parametrize("name", list(BROKEN))
def test_the_selfcheck_says_what_is_wrong(name: str, broken: Programs) -> None:
    _, wanted, message = BROKEN[name]
    code, out = broken.run(f"selfcheck_kws_{name}")
    assert out.startswith(f"FAIL kws_{name}: ")
    assert message in out
    assert code == wanted


def test_the_selfcheck_prints_both_digests_of_wrong_bytes(broken: Programs, template: Project) -> None:
    data = template.path("build/kws/kws.tflite").read_bytes()
    _, out = broken.run("selfcheck_kws_swapped_bytes")
    assert f"header: {hashlib.sha256(data).hexdigest()}\n" in out
    assert f"array:  {hashlib.sha256(data.replace(b'a test model', b'a test mdoel')).hexdigest()}\n" in out


def test_the_selfcheck_prints_both_lengths_of_a_wrong_pair(broken: Programs, template: Project) -> None:
    size = template.path("build/kws/kws.tflite").stat().st_size
    _, out = broken.run("selfcheck_kws_older_header")
    assert re.search(rf"header: .*, 1200 bytes\n.*source: .*{size} bytes\n", out)


# The array in the program


def readonly_copies(path: Path, symbol: str) -> Iterator[bytes]:
    """Yield what every definition of an array holds; each lies in read-only memory, at a multiple of 16."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        segments = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
        for found in elf.get_section_by_name(".symtab").get_symbol_by_name(symbol):
            section = elf.get_section(found["st_shndx"])
            address, size = found["st_value"], found["st_size"]
            assert address % 16 == 0
            assert section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            assert not section["sh_flags"] & SH_FLAGS.SHF_WRITE
            (segment,) = (each for each in segments if each.section_in_segment(section))
            assert not segment["p_flags"] & P_FLAGS.PF_W
            start = address - section["sh_addr"]
            yield section.data()[start : start + size]


@pytest.mark.parametrize("model", ["kws", "kws_section"])
def test_the_linked_program_holds_the_tflite_once_aligned_and_read_only(
    model: str, good: Programs, broken: Programs, template: Project
) -> None:
    data = template.path("build/kws/kws.tflite").read_bytes()
    programs = good if model == "kws" else broken
    path = programs.directory / f"selfcheck_{model}"
    assert list(readonly_copies(path, f"g_{model}_model_data")) == [data]
    assert path.read_bytes().count(data) == 1


def test_an_array_in_a_section_of_its_own_passes(broken: Programs) -> None:
    assert broken.run("selfcheck_kws_section")[0] == 0


# Configuring


def test_without_tflm_one_line_says_what_to_set(built: Project, tmp_path: Path) -> None:
    out = configure(tmp_path / "build", "host", built.path("firmware/generated"))
    (line,) = (line for line in out.splitlines() if "TFLM_LIBRARIES" in line)
    assert "TFLM_INCLUDE_DIRS" in line
    assert "tflite-micro" in line


def test_only_the_models_asked_for_are_built(built: Project, tmp_path: Path) -> None:
    generated = built.path("firmware/generated")
    for name in ("one", "two", "three"):
        write_pair(name, read_pair(generated), generated)
    programs = build(tmp_path / "build", "host", generated, "-DMODELS=kws_one;kws_three")
    names = {path.name for path in programs.directory.glob("selfcheck_*")}
    assert names == {"selfcheck_kws_one", "selfcheck_kws_three"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-DMODELS=gone"], "no gone_model_data.h: run `doit quantize`, or correct MODELS"),
        ([], "no NAME_model_data.h: run `doit quantize`, or set GENERATED_DIR"),
    ],
)
def test_models_that_were_not_generated_are_named(options: list[str], message: str, tmp_path: Path) -> None:
    need("cmake", "ninja")
    command = ["cmake", "-S", FIRMWARE, "-B", tmp_path, "-G", "Ninja", f"-DGENERATED_DIR={tmp_path}", *options]
    done = run(*command)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.split())


def test_an_unknown_board_is_refused(tmp_path: Path) -> None:
    need("cmake", "ninja")
    command = ["cmake", "-S", FIRMWARE, "-B", tmp_path, "-G", "Ninja", "--toolchain", TOOLCHAIN]
    done = run(*command, "-DCORTEX_M_BOARD=mps3-an547")
    assert done.returncode != 0
    assert "set it to mps2-an385 or mps2-an500" in done.stderr


def test_a_model_built_anew_is_described_and_compiled_anew(built: Project, tmp_path: Path) -> None:
    programs = build(tmp_path / "build", "host", built.path("firmware/generated"))
    built.edit("models/kws.py", "a test model", "another test model")
    built.build()
    must("cmake", "--build", programs.directory)
    assert programs.run("selfcheck_kws")[0] == 0
    assert "ninja: no work to do." in must("cmake", "--build", programs.directory)


def test_a_renamed_array_is_found(built: Project, tmp_path: Path) -> None:
    built.edit(
        "models/kws.py", "my_model.epochs = 3\n", 'my_model.epochs = 3\nmy_model.header.array_name = "wake"\n'
    )
    built.build()
    programs = build(tmp_path / "build", "host", built.path("firmware/generated"))
    assert programs.run("selfcheck_kws")[0] == 0


def test_there_is_a_preset_for_every_target() -> None:
    need("cmake")
    assert re.findall(r'"([^"]+)"', run("cmake", "--list-presets", cwd=FIRMWARE).stdout) == list(BOARDS)
