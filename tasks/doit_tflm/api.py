"""The Python API: what the commands do, for programs and notebooks."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm.config import read_config
from doit_tflm.errors import UserError
from doit_tflm.order import AS_OBJECT, Order, quantize
from doit_tflm.project import inside, locate, run_doit
from doit_tflm.spec import ModelSpec

if TYPE_CHECKING:
    from doit_tflm.tflite_model import TfliteModel

__all__ = ["evaluate_model", "load_model_spec", "quantize_model"]


def quantize_model(  # noqa: PLR0913, PLR0917 - MLTK's signature
    model: str | Path | ModelSpec,
    keras_model: Any = None,
    output: str | Path | None = None,
    weights: str | Path | None = None,
    build: bool = False,  # noqa: FBT001, FBT002 - MLTK's signature
    update_archive: bool | None = None,  # noqa: FBT001 - MLTK's signature
    tflite_converter_override: Mapping[str, Any] | None = None,
    post_process: bool = False,  # noqa: FBT001, FBT002 - MLTK's signature
) -> Path | TfliteModel:
    """Quantize a model into a ``.tflite``.

    Without further arguments it is the incremental build of ``doit quantize:NAME``: archive and C sources are
    brought up to date, and nothing runs if nothing changed. With a live model, other weights or other settings it
    is built once, beside that, and nothing else is touched unless `update_archive` says so.

    Parameters
    ----------
    model : str, Path or ModelSpec
        A model's name in the project around the current directory (``NAME-test`` for what a dry run trained); the
        path of a specification script or archive, wherever it is; or a specification as `load_model_spec` returns
        it, with what was changed of it since.
    keras_model : keras.Model, optional
        The trained model, instead of the archive's weights.
    output : str or Path, optional
        The file, or the directory, that the ``.tflite`` goes to. ``"tflite_model"``: return a `TfliteModel`.
    weights : str or Path, optional
        Other weights: a path, the name of a file among the archive's ``train/weights``, or ``"best"`` for the best
        of these.
    build : bool, optional
        Build the model, and train it for one epoch on a few samples, instead of loading weights: to look at its
        structure.
    update_archive : bool, optional
        Whether the ``.tflite`` goes into the archive. When left out: only if no other argument is given.
    tflite_converter_override : mapping, optional
        Converter settings that replace the specification's.
    post_process : bool, optional
        Call the specification's `on_quantize_complete` with the `TfliteModel` afterwards.

    Returns
    -------
    Path or TfliteModel
        The ``.tflite``.

    Raises
    ------
    UserError
        If there is no such model, or a stage fails. What was built before stays.
    """
    as_object = output == AS_OBJECT
    order = Order(
        model=model,
        output="" if as_object or output is None else str(output),
        weights="" if weights is None else str(weights),
        build=build,
        # A model that is returned is asked for as one that is written elsewhere.
        update_archive=False if as_object and update_archive is None else update_archive,
        settings=tflite_converter_override or {},
        keras_model=keras_model,
    )
    console = io.StringIO()
    done = quantize(order, console)
    if done.code:
        raise UserError(console.getvalue().strip() or f"{model} could not be built")
    if not (as_object or post_process):
        return done.path
    from doit_tflm.tflite_model import TfliteModel

    made = TfliteModel.load(done.path)
    if post_process:
        _post_process(model, made)
    return made if as_object else done.path


def _post_process(model: str | Path | ModelSpec, made: TfliteModel) -> None:
    """Call what the specification has for the end."""
    from doit_tflm.script import user_code

    spec = model if isinstance(model, ModelSpec) else load_model_spec(model)
    if spec.on_quantize_complete is None:
        raise UserError("has no on_quantize_complete to call", spec.script or spec.name, "set it to a function")
    with user_code(spec.script or spec.name, "on_quantize_complete "):
        spec.on_quantize_complete(made)


def evaluate_model(model: str | Path) -> dict[str, Any]:
    """Run the trained and the quantized model on the evaluation data, as ``doit evaluate:NAME`` does.

    Parameters
    ----------
    model : str or Path
        A model of a project: its name, specification script or archive.

    Returns
    -------
    dict
        ``"float"`` and ``"int8"``: what the archive's ``eval/h5`` and ``eval/tflite`` hold as
        ``eval-results.json``.

    Raises
    ------
    UserError
        If a stage fails.
    """
    found = locate(model)
    if not found.is_built_here:
        raise UserError("is not built by a project", str(model), "move it into a project's models_dir")
    if found.is_test:
        raise UserError("is a dry run's, which is not evaluated", str(model), f"name the model, {found.name}")
    console = io.StringIO()
    with inside(found.root):
        config = read_config()
        if run_doit(config, [found.name], console, f"evaluate:{found.name}"):
            raise UserError(console.getvalue().strip())
        results = Path(config.build_dir, found.name, "eval")
        return {
            key: json.loads((results / folder / "eval-results.json").read_bytes())
            for key, folder in (("float", "h5"), ("int8", "tflite"))
        }


def load_model_spec(model: str | Path) -> ModelSpec:
    """Run a specification script, and return its specification.

    Parameters
    ----------
    model : str or Path
        A model's name in the project around the current directory, or the path of a specification script.

    Raises
    ------
    UserError
        If there is no such script, or it fails.
    """
    from doit_tflm.script import loaded

    found = locate(model)
    if not found.script:
        raise UserError("is an archive", str(model), "give a name, or the path of a specification script")
    with inside(found.root), loaded(found.script) as running:
        spec = running.spec
    object.__setattr__(spec, "script", str((found.root / found.script).absolute()))
    return spec
