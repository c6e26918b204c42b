"""Models that are made already: what they hold and need, and their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm import archive
from doit_tflm.config import ARCHIVE, DRY_RUN, read_config
from doit_tflm.errors import UserError
from doit_tflm.order import AS_OBJECT, output_path
from doit_tflm.project import locate

if TYPE_CHECKING:
    from doit_tflm.summary import Summary
    from doit_tflm.tflite_model import TfliteModel

__all__ = ["summarize_model", "update_model_parameters"]


def summarize_model(model: str | Path, *, measure: bool = True) -> Summary:
    """Return what a model holds and needs.

    Parameters
    ----------
    model : str or Path
        A ``.tflite`` file, whoever made it; an archive; a specification script, or a model's name in the project
        around the current directory, or ``NAME-test``: then the last build's ``.tflite``, else the archive's.
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


def update_model_parameters(
    model: str | Path | TfliteModel,
    params: Mapping[str, Any] | None = None,
    description: str | None = None,
    output: str | Path | None = None,
) -> Path | TfliteModel:
    """Add parameters to a model that is quantized already; weights and layers keep their bytes.

    Parameters
    ----------
    model : str, Path or TfliteModel
        A ``.tflite``, whoever made it; an archive, none of whose code is run; or a model's name in the project
        around the current directory, which is brought up to date first, with the parameters of its specification.
    params : mapping of str to Any, optional
        Plain values, or `Typed` ones. They are added to those that the model has.
    description : str, optional
        A new description.
    output : str or Path, optional
        The file, or the directory, that the ``.tflite`` goes to; then what it came from is left alone.
        ``"tflite_model"``: return a `TfliteModel`, and write nothing.

    Returns
    -------
    Path or TfliteModel
        The ``.tflite``, or the archive that holds it.

    Raises
    ------
    UserError
        If there is no such model, or a parameter has no wire type. Nothing is changed then.
    """
    from doit_tflm.tflite_model import TfliteModel

    if isinstance(model, TfliteModel):
        made, home, name = model, model.path, model.path.stem if model.path else "model"
    else:
        made, home, name = _with_home(model)
    target = home if output is None or output == AS_OBJECT else output_path(output, name)
    if target is None and output is None:
        raise UserError("this model came from no file", fix="name an output")
    is_changed = bool(params) or description is not None
    if is_changed:
        made.update_parameters(params or {}, description)
    if output == AS_OBJECT:
        return made
    if output is None and home is not None and home.name.endswith(ARCHIVE):
        if is_changed:
            member = _member(home)
            archive.update_members(home, {member: made.data, f"{member}.summary.txt": _text(made)})
        return home
    return made.save(target)


def _text(made: TfliteModel) -> bytes:
    """Return the summary of a model, measured."""
    from doit_tflm.summary import Footprint, render, summarize

    arena_bytes, note = _arena_of(made.data)
    measured = Footprint(len(made.data), arena_bytes)
    return render(summarize(made.data, made.name, measured, None, note)).encode()


def _with_home(model: str | Path) -> tuple[TfliteModel, Path, str]:
    """Return a model, the file that it is in, a ``.tflite`` or an archive, and what a copy is called."""
    from doit_tflm.api import quantize_model
    from doit_tflm.tflite_model import TfliteModel

    path = Path(model)
    if path.suffix == ".tflite":
        return TfliteModel.load(path), path, path.stem
    found = locate(model)
    home = found.root / found.archive
    # An archive that is named as a file may hold anybody's code.
    if found.is_built_here and not found.is_test and not path.name.endswith(ARCHIVE):
        built = quantize_model(model)
        assert isinstance(built, Path)
        return TfliteModel.load(built), home if home.exists() else built, found.name
    # Its path is not the archive's, which `save` would replace.
    return TfliteModel(_archived(home)), home, f"{found.name}{'.test' if found.is_test else ''}"


def _tflite_of(model: str | Path) -> tuple[bytes, str, bytes | None]:
    """Return a model's ``.tflite``, its name, and its calibrated float twin, if that is at hand."""
    path = Path(model)
    if path.name.endswith(ARCHIVE):
        return _archived(path), path.name.removesuffix(ARCHIVE), None
    if path.suffix == ".tflite":
        if not path.is_file():
            raise UserError("there is no such file", str(path))
        return path.read_bytes(), path.stem, None
    found = locate(model)
    name, home = found.trained_as, found.root / found.archive
    built = found.root / read_config(found.root).build_dir / name
    if not found.is_built_here or not (built / f"{name}.tflite").is_file():
        return _archived(home), name, None
    calibrated = built / "calibrated.tflite"
    quantized = (built / "quantized.tflite").read_bytes()
    twin = calibrated.read_bytes() if calibrated.is_file() else quantized
    return (built / f"{name}.tflite").read_bytes(), name, twin if twin != quantized else None


def _member(path: Path) -> str:
    """Return the member of an archive that is its ``.tflite``; a dry run's has the name of the model."""
    name = path.name.removesuffix(ARCHIVE)
    names = archive.members(path)
    return next((f"{one}.tflite" for one in (name, name.removesuffix(DRY_RUN)) if f"{one}.tflite" in names), "")


def _archived(path: Path) -> bytes:
    """Return the ``.tflite`` in an archive."""
    member = _member(path)
    data = archive.read_member(path, member) if member else None
    if data is None:
        raise UserError("has no .tflite", str(path), "quantize the model first")
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
