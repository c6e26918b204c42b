"""The work of ``doit firmware:test``, in the worker process: do the programs run, and do they hold the models.

For each preset: its tests are run, here or in the emulator that its toolchain names; each model is read back out
of the programs and compared with the ``.tflite``; and what was read back runs in TensorFlow Lite Micro (TFLM) on
the golden inputs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from doit_tflm import archive, golden, tflite, tflm
from doit_tflm.cmake_build import CmakeBuild, Test
from doit_tflm.elf import ALIGNMENT, check_array, read_image, stored_array
from doit_tflm.errors import UserError

__all__ = ["check"]

_LONGEST_OUTPUT = 400


def check(preset: str, directory: str, models: dict[str, dict[str, str]], log: str) -> dict[str, Any]:
    """Test the programs of a preset.

    Parameters
    ----------
    preset, directory : str
        Its name, and where it is built.
    models : dict
        For each model by name: ``array``, its array's name in C; ``tflite`` and ``golden``, the paths of the model
        and of its golden vectors; ``archive``, the path of its archive.
    log : str
        Where the output of CTest goes.

    Returns
    -------
    dict
        ``says`` and ``notes``: lines to show.

    Raises
    ------
    UserError
        If anything is not as it should be: everything that is not.
    """
    cmake = CmakeBuild(directory, log)
    tests, programs = cmake.tests(), cmake.programs()
    failures = [] if tests else [UserError("there are no tests", directory, "use add_test in its CMakeLists.txt")]
    failures += [failure for test in tests for failure in _run(preset, test)]
    held: dict[str, dict[str, bytes]] = {model: {} for model in models}
    for program, path in programs.items():
        image = read_image(Path(path).read_bytes(), f"{preset}: {program}")
        for model, its in models.items():
            data = Path(its["tflite"]).read_bytes()
            stored = stored_array(image, its["array"], data)
            if stored is not None:
                held[model][program] = stored
                failures += check_array(image, its["array"], data, f"{preset}: {program}")
    count, notes = 0, []
    for model, its in models.items():
        failures += _check_archive(model, its)
        if not held[model]:
            where = f"{preset}: {', '.join(programs) or 'no programs'}"
            failures.append(
                UserError(f"no program holds {model}", where, f"link it, or leave {model} out of `models`")
            )
        for stored in {*held[model].values()}:
            vectors, note, wrong = _run_in_tflm(f"{preset}: {', '.join(held[model])}", its, stored)
            count += vectors
            notes += note
            failures += wrong
    if failures:
        what = "1 check fails" if len(failures) == 1 else f"{len(failures)} checks fail"
        raise UserError(what, preset, detail="\n".join(f"    {failure}" for failure in failures))
    ran = ", ".join(test.name for test in tests)
    read = f"{_number(len(models), 'model')} read back out of {_number(len(programs), 'program')}"
    says = [
        f"{_number(len(tests), 'test')} passed: {ran}",
        f"{read}: the .tflite byte for byte, once, read-only, at a multiple of {ALIGNMENT}",
    ]
    if count:
        says.append(f"TFLM ran what was read back: {_number(count, 'golden vector')}, every bit equal")
    return {"says": says, "notes": list(dict.fromkeys(notes))}


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _run(preset: str, test: Test) -> list[UserError]:
    """Run a test and return what went wrong."""
    where = f"{preset}: {test.name}"
    try:
        done = subprocess.run(
            test.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=test.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [UserError(f"did not end within {test.timeout_s:g} s", where, "run it by hand, in a debugger")]
    except OSError as error:
        return [UserError(f"cannot be run: {error}", where, "build it again")]
    text = done.stdout.decode(errors="replace")
    print(f"{where}: exit code {done.returncode}\n{text}")
    if done.returncode == 0:
        return []
    said = " ".join(text.split())[:_LONGEST_OUTPUT] or "it printed nothing"
    fix = "firmware/README.md says what the exit code means"
    return [UserError(f"ended with exit code {done.returncode}: {said}", where, fix)]


def _check_archive(model: str, its: dict[str, str]) -> list[UserError]:
    """Compare the model of the build with that of the archive, where there is one."""
    path = Path(its["archive"])
    if not path.exists():
        return []
    member = archive.read_member(path, f"{model}.tflite")
    if member == Path(its["tflite"]).read_bytes():
        return []
    what = f"its {model}.tflite is not that of the build" if member else f"has no {model}.tflite"
    return [UserError(what, str(path), f"run doit archive:{model}")]


def _run_in_tflm(where: str, its: dict[str, str], data: bytes) -> tuple[int, list[str], list[UserError]]:
    """Run what was read back on the golden inputs; return how many, notes, and what went wrong."""
    if not tflm.available():
        return 0, ["what was read back is not run: tflite-micro has no package for this platform"], []
    vectors = golden.read(its["golden"])
    if not vectors:
        return 0, [f"{Path(its['tflite']).stem} is not run: it has no golden vectors"], []
    try:
        with closing(tflm.Interpreter(data, tflite.read(data))) as interpreter:
            made = interpreter.run(vectors.inputs)
    except UserError as error:
        return 0, [], [UserError(f"TFLM does not run what was read back: {error.what}", where, error.fix)]
    wrong = [index for index in range(len(vectors)) if not _equal(index, made, vectors.outputs)]
    if not wrong:
        return len(vectors), [], []
    what = (
        f"TFLM's outputs differ from {len(wrong)} of {len(vectors)} golden vectors, first from number {wrong[0]}"
    )
    return 0, [], [UserError(what, where, "run doit quantize, then doit firmware, and try again")]


def _equal(index: int, made: Sequence[Any], wanted: Sequence[Any]) -> bool:
    return all(one[index].tobytes() == other[index].tobytes() for one, other in zip(made, wanted, strict=True))
