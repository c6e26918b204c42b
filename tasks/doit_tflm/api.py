"""The Python API: what the commands do, for programs and notebooks."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from doit_tflm.config import read_config
from doit_tflm.errors import UserError
from doit_tflm.project import find_model, inside, run_doit

if TYPE_CHECKING:
    from doit_tflm.summary import Summary

__all__ = ["build", "quantize_model", "summarize_model"]


def quantize_model(model: str | Path) -> Path:
    """Bring a model's ``.tflite``, archive and C sources up to date, as ``doit quantize:NAME`` does.

    Parameters
    ----------
    model : str or Path
        A model's name in the project around the current directory; or the path of its specification script or
        archive.

    Returns
    -------
    Path
        The ``.tflite``.

    Raises
    ------
    UserError
        If there is no such model, or a stage fails. What was built before stays.
    """
    output = io.StringIO()
    path, code = build(model, output)
    if code:
        raise UserError(output.getvalue().strip() or f"{model} could not be built")
    return path


def build(model: str | Path, output: TextIO) -> tuple[Path, int]:
    """Bring a model up to date.

    Parameters
    ----------
    model : str or Path
        As for `quantize_model`.
    output : TextIO
        Where the line of each stage goes.

    Returns
    -------
    path, code
        The ``.tflite``, and doit's exit code: 0 for success.
    """
    root, name = find_model(model)
    with inside(root):
        config = read_config()
        code = run_doit(config, [name], output)
    return root / config.build_dir / name / f"{name}.tflite", code


def summarize_model(model: str | Path, *, measure: bool = True) -> Summary:
    """Return what a model holds and needs.

    Parameters
    ----------
    model : str or Path
        A ``.tflite`` file, whoever made it; an archive; a specification script, or a model's name in the project
        around the current directory: then the last build's ``.tflite``, else the archive's.
    measure : bool, optional
        Whether TFLM measures the tensor arena, if it is installed; of the float twin as well, where the build
        directory has it.

    Raises
    ------
    UserError
        If there is no such model, or it is damaged.
    """
    from doit_tflm.summary import Footprint, summarize

    data, name, twin = _tflite_of(model)
    if not measure:
        return summarize(data, name)
    arena_bytes, note = _arena_of(data)
    float_twin = Footprint(len(twin), _arena_of(twin)[0]) if twin else None
    return summarize(data, name, Footprint(len(data), arena_bytes), float_twin, note)


def _tflite_of(model: str | Path) -> tuple[bytes, str, bytes | None]:
    """Return a model's ``.tflite``, its name, and its calibrated float twin, if that is at hand."""
    path = Path(model)
    if path.name.endswith(".mltk.zip"):
        return _archived(path), path.name.removesuffix(".mltk.zip"), None
    if path.suffix == ".tflite":
        if not path.is_file():
            raise UserError("there is no such file", str(path))
        return path.read_bytes(), path.stem, None
    root, name = find_model(model)
    config = read_config(root)
    built = root / config.build_dir / name
    if not (built / f"{name}.tflite").is_file():
        return _archived(root / config.models_dir / f"{name}.mltk.zip"), name, None
    calibrated = built / "calibrated.tflite"
    quantized = (built / "quantized.tflite").read_bytes()
    twin = calibrated.read_bytes() if calibrated.is_file() else quantized
    return (built / f"{name}.tflite").read_bytes(), name, twin if twin != quantized else None


def _archived(path: Path) -> bytes:
    """Return the ``.tflite`` in an archive."""
    from doit_tflm import archive

    member = f"{path.name.removesuffix('.mltk.zip')}.tflite"
    data = archive.read_member(path, member)
    if data is None:
        raise UserError(f"has no {member}", str(path), "quantize the model first")
    return data


def _arena_of(data: bytes) -> tuple[int | None, str]:
    """Return the smallest arena that TFLM runs a model in, and what to say of it."""
    from doit_tflm import tflite, tflm

    if not tflm.available():
        return None, "not measured: tflite-micro is not installed (some platforms have no wheel)"
    try:
        measured = tflm.measure(data, tflite.read(data))
    except UserError as error:
        return None, str(error)
    return measured.arena_bytes, tflm.describe(measured.word_bits)
