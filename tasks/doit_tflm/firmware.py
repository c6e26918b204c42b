"""The firmware as doit tasks: the programs of each preset, their tests, and their sizes.

A ``dodo.py`` has, beside the tasks of the models::

    from doit_tflm import firmware_tasks


    def task_firmware():
        yield from firmware_tasks()
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm.actions import POOL, Remove, Step, named, run_aside
from doit_tflm.config import Config, model_of, read_config
from doit_tflm.errors import UserError
from doit_tflm.files import normalise
from doit_tflm.firmware_settings import Target
from doit_tflm.presets import preset_names
from doit_tflm.tasks import SESSION

if TYPE_CHECKING:
    from doit_tflm.cmake_build import Test

__all__ = ["firmware_tasks"]

_BUILD, _TEST, _SIZES = "firmware", "firmware:test", "firmware:sizes"
_WITHOUT_TFLM = (
    "no programs run the models: give TFLM_INCLUDE_DIRS and TFLM_LIBRARIES, as firmware/README.md tells"
)


def firmware_tasks(directory: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the doit tasks of the project's firmware: none of them is part of ``doit quantize``.

    Parameters
    ----------
    directory : str, optional
        The CMake project, relative to the project; the setting's when left out.
    """
    try:
        config = read_config()
    except UserError as error:
        sys.exit(f"ERROR: {error}")
    settings = config.firmware if directory is None else replace(config.firmware, directory=normalise(directory))
    known = [model_of(spec) for spec in config.specs()]
    for model in settings.models:
        if model not in known:
            where = "ERROR: pyproject.toml: [tool.doit-tflm.firmware] models"
            sys.exit(f"{where} names {model!r}, but the models are {', '.join(known) or 'none'}")
    models = tuple(settings.models or known)
    try:
        presets = settings.presets or tuple(preset_names(settings.directory))
    except UserError as error:
        # Nobody who builds models only should be stopped by it.
        yield from _unable(error)
        return
    targets = [Target(one, settings, models, config.build_dir, config.header_dir) for one in presets]
    yield {"basename": _BUILD, "name": None, "doc": "build the programs that hold the models, for every preset"}
    yield {"basename": _TEST, "name": None, "doc": "run the programs, and read the models back out of them"}
    for target in targets:
        yield _build_task(target, config, alone=len(targets) == 1)
        yield _test_task(target, config)
    yield {
        "basename": _SIZES,
        "actions": [Step("firmware", "sizes", partial(_show, targets), "")],
        "task_dep": [_BUILD],
        "uptodate": [False],
        "doc": "show how much flash and RAM the programs take, and what has changed",
    }


def _unable(error: UserError) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a firmware whose presets cannot be told: they fail."""

    def fail() -> dict[str, Any]:
        raise error

    for name in (_BUILD, _TEST, _SIZES):
        yield {
            "basename": name,
            "actions": [Step("firmware", "build", fail, "")],
            "doc": "fail: there is no firmware",
        }


def _build_task(target: Target, config: Config, *, alone: bool) -> dict[str, Any]:
    """Return the task that builds a preset, after the C sources that it needs."""
    return {
        "basename": _BUILD,
        "name": target.preset,
        "actions": [Step(target.preset, "build", partial(_build, target, alone=alone), target.log)],
        "task_dep": _sources(target.models, config),
        # Ninja tells, from the files that the compiler has read.
        "uptodate": [False],
        "clean": [Remove((target.log, target.record), ()), partial(_remove_tree, target.directory)],
        "doc": f"build the programs that hold the models: {target.preset}",
    }


def _sources(models: tuple[str, ...], config: Config) -> list[str]:
    """Return the tasks that write the C sources of models, and of programs that link only these."""
    programs = [name for name, its in sorted(config.programs.items()) if {*its} <= {*models}]
    return [SESSION, *(f"header:{model}" for model in models), *(f"resolver:{name}" for name in programs)]


def _test_task(target: Target, config: Config) -> dict[str, Any]:
    """Return the task that tests a preset's programs."""
    return {
        "basename": _TEST,
        "name": target.preset,
        "actions": [Step(target.preset, "test", partial(_test, target, config), _logs(target)[0])],
        # The archives are compared too.
        "task_dep": [f"{_BUILD}:{target.preset}", *(f"archive:{model}" for model in target.models)],
        "uptodate": [False],
        "clean": [Remove(_logs(target), ())],
        "doc": f"run the programs, and read the models back out of them: {target.preset}",
    }


def _logs(target: Target) -> tuple[str, str]:
    """Return where the output of a preset's tests goes, and that of the worker."""
    return f"{target.directory}.test.log", f"{target.directory}.check.log"


def _is_named(target: Target) -> bool:
    """Tell whether a preset was asked for by name."""
    return any(named(f"{basename}:{target.preset}") for basename in (_BUILD, _TEST))


def _skipped(target: Target, verb: str, *, to_run: bool) -> str:
    """Return the line that says why a preset is left out; empty where it is not.

    Raises
    ------
    UserError
        If it was asked for by name.
    """
    from doit_tflm.firmware_build import unavailable

    lacking = unavailable(target, to_run=to_run)
    if lacking is None:
        return ""
    what, fix = lacking
    if _is_named(target):
        raise UserError(what, target.preset, fix)
    return f"{verb} skipped: {what}; {fix}"


def _build(target: Target, *, alone: bool) -> dict[str, Any]:
    """Build a preset, and return what is to be shown of it."""
    from doit_tflm.firmware_build import build

    skipped = _skipped(target, "build", to_run=False)
    if skipped:
        return {"skipped": skipped}
    done = build(target, alone=alone or _is_named(target), keep_open=POOL.keep_open)
    linked = done["linked"]
    if not linked:
        return {}
    why = f"{linked[0]} linked" if len(linked) == 1 else f"{len(linked)} of {len(done['sizes'])} programs linked"
    return {
        "why": why,
        "sizes": {target.preset: [done["sizes"], done["before"]]},
        "notes": [] if target.has_tflm else [_WITHOUT_TFLM],
    }


def _test(target: Target, config: Config) -> dict[str, Any]:
    """Test a preset's programs, and return what is to be shown of it."""
    skipped = _skipped(target, "test", to_run=True)
    if skipped:
        return {"skipped": skipped}
    from doit_tflm.cmake_build import CmakeBuild

    cmake = CmakeBuild(target.directory, target.log)
    names, failures = _run_tests(target, cmake.tests())
    arguments = {"preset": target.preset, "programs": cmake.programs(), "models": _facts(target, config)}
    done = run_aside("doit_tflm.firmware_check:check", arguments, _logs(target)[1])
    failures += done.pop("failures")
    if failures:
        what = "1 check fails" if len(failures) == 1 else f"{len(failures)} checks fail"
        raise UserError(what, target.preset, detail="\n".join(f"    {failure}" for failure in failures))
    passed = "1 test" if len(names) == 1 else f"{len(names)} tests"
    return {
        "why": "asked for",
        "says": [f"{passed} passed: {', '.join(names)}", *done["says"]],
        "notes": [*done["notes"], *([] if target.has_tflm else [_WITHOUT_TFLM])],
    }


def _run_tests(target: Target, tests: list[Test]) -> tuple[list[str], list[str]]:
    """Run the tests of the CMake project into the log; return their names, and what went wrong."""
    failures, printed = [], []
    for test in tests:
        where = f"{target.preset}: {test.name}"
        text, failure = test.run(where)
        printed.append(f"{where}\n{text}\n")
        failures += [str(failure)] if failure else []
    if not tests:
        failures = [str(UserError("there are no tests", target.directory, "use add_test in its CMakeLists.txt"))]
    Path(_logs(target)[0]).write_text("".join(printed))
    return [test.name for test in tests], failures


def _facts(target: Target, config: Config) -> dict[str, dict[str, str]]:
    """Return what the check is told of each model."""
    from doit_tflm.firmware_build import array_name

    return {
        model: {
            "array": array_name(target, model),
            "tflite": f"{target.build_dir}/{model}/{model}.tflite",
            "golden": f"{target.build_dir}/{model}/golden.npz",
            "archive": f"{config.models_dir}/{model}.mltk.zip",
        }
        for model in target.models
    }


def _show(targets: list[Target]) -> dict[str, Any]:
    """Return the sizes of all programs that are built."""
    from doit_tflm.firmware_build import stored_sizes

    sizes = {target.preset: stored_sizes(target) for target in targets}
    return {
        "why": "asked for",
        "sizes": {
            preset: [{name: asdict(one) for name, one in each.items()} for each in both]
            for preset, both in sizes.items()
            if both[0]
        },
    }


def _remove_tree(directory: str) -> None:
    """Remove a build directory."""
    import shutil

    shutil.rmtree(directory, ignore_errors=True)
