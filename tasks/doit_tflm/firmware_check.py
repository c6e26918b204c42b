"""What the worker does for ``doit firmware:test``: are the models in the programs, and do they compute right.

Each model is read back out of the programs of a preset and compared with the ``.tflite``; and what was read back
runs in TensorFlow Lite Micro (TFLM) on the golden inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from doit_tflm import archive, golden, tflite, tflm
from doit_tflm.elf import ALIGNMENT, check_array, read_image, stored_array
from doit_tflm.errors import UserError

__all__ = ["check"]


def check(preset: str, programs: dict[str, str], models: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Check the models in the programs of a preset.

    Parameters
    ----------
    preset : str
        Its name.
    programs : dict of str to str
        The paths of its programs, by name.
    models : dict
        For each model by name: ``array``, its array's name in C; ``tflite`` and ``golden``, the paths of the model
        and of its golden vectors; ``archive``, the path of its archive.

    Returns
    -------
    dict
        ``failures``: everything that is not as it should be, each as text; ``says`` and ``notes``: lines to show.
    """
    failures: list[UserError] = []
    held: dict[str, dict[str, bytes]] = {model: {} for model in models}
    for program, path in programs.items():
        where = f"{preset}: {program}"
        image = read_image(Path(path).read_bytes(), where)
        for model, its in models.items():
            data = Path(its["tflite"]).read_bytes()
            stored = stored_array(image, its["array"], data)
            if stored is not None:
                held[model][program] = stored
                failures += check_array(image, its["array"], data, where)
    count = 0
    notes: list[str] = []
    for model, its in models.items():
        failures += _check_archive(model, its)
        if not held[model]:
            where = f"{preset}: {', '.join(programs) or 'no programs'}"
            fix = f"link it, or leave {model} out of `models` in [tool.doit-tflm.firmware]"
            failures.append(UserError(f"no program holds {model}", where, fix))
        for stored in sorted({*held[model].values()}):
            vectors, note, wrong = _run_in_tflm(f"{preset}: {', '.join(held[model])}", its, stored)
            count += vectors
            notes += note
            failures += wrong
    read = f"{_number(len(models), 'model')} read back out of {_number(len(programs), 'program')}"
    says = [f"{read}: the .tflite byte for byte, once, read-only, at a multiple of {ALIGNMENT}"]
    if count:
        says.append(
            f"TFLM on this machine ran what was read back: {_number(count, 'golden vector')}, every bit equal"
        )
    return {"failures": [str(failure) for failure in failures], "says": says, "notes": list(dict.fromkeys(notes))}


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


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
