"""What other build systems are told that the C sources depend on."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from conftest import Project
from doit_tflm.config import read_config
from doit_tflm.export import built as sources_of


def dependencies(project: Project, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(project.root)
    return sources_of(read_config(), ["kws"]).dependencies


def test_a_package_that_is_not_installed_counts_as_where_it_would_be(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name == "tf-keras":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "distribution", distribution)
    found = dependencies(built, monkeypatch)
    assert sysconfig.get_path("purelib") in found
    assert all(Path(path).is_absolute() for path in found)
    assert str(built.root) not in found, "any file there would count"


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("data/*/x.csv", {"data", "data/a", "data/b"}),
        ("data/**/x.csv", {"data", "data/a", "data/b", "data/b/c"}),
        ("data/**", {"data", "data/a", "data/b", "data/b/c"}),
        ("data/b/*.csv", {"data/b"}),
        ("*.csv", {"."}),
        ("gone/deep/*/x.csv", {"."}),
        ("data/gone/*.csv", {"data"}),
        ("data/b", {"data"}),
    ],
)
def test_every_directory_that_may_get_a_match_counts(
    pattern: str, wanted: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from doit_tflm.export import _directories

    monkeypatch.chdir(tmp_path)
    for name in ("data/a", "data/b/c"):
        Path(name).mkdir(parents=True)
    assert _directories(pattern) == wanted


def test_depfile_names_what_the_sources_depend_on(built: Project) -> None:
    command = [sys.executable, "-m", "doit_tflm", "depfile", "--target", "firmware.stamp", "-o", "models.d", "kws"]
    subprocess.run(command, cwd=built.root, env=built.environment(), check=True)
    first, *others = built.path("models.d").read_text().split(" \\\n  ")
    assert first == "firmware.stamp:"
    assert {str(built.path("models/kws.py")), str(built.path("models/kws.mltk.zip"))} <= {*others}


def test_depfile_of_a_source_that_was_edited_is_an_error(built: Project) -> None:
    with built.path("firmware/generated/kws_model_data.c").open("a") as stream:
        stream.write("\n")
    command = [sys.executable, "-m", "doit_tflm", "depfile", "--target", "firmware.stamp", "kws"]
    done = subprocess.run(
        command, cwd=built.root, env=built.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "kws_model_data.c: is not what the build wrote; run `doit quantize` again" in done.stderr
