"""A model to quantize, as a user orders it: by the project's build where that gives it, else in one go."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from doit_tflm import archive
from doit_tflm.actions import close_workers, run_aside
from doit_tflm.config import Config, model_of, read_config
from doit_tflm.epochs import best_epoch
from doit_tflm.errors import UserError
from doit_tflm.files import write_out
from doit_tflm.plan import ONCE, ONCE_LOG
from doit_tflm.project import Located, inside, locate, run_alone, run_doit
from doit_tflm.reporter import Display
from doit_tflm.settings import ConverterSettings
from doit_tflm.spec import ModelSpec
from doit_tflm.worker import Progress

if TYPE_CHECKING:
    from doit_tflm.once import Wanted

__all__ = ["AS_OBJECT", "Order", "Quantized", "output_path", "quantize"]

AS_OBJECT = "tflite_model"
"""The output, in MLTK's words, of who wants the model itself."""
_WEIGHTS, _HISTORY = "train/weights/", "train/training-history.json"
"""Where an archive keeps the weights of a training's epochs."""


@dataclass(frozen=True)
class Order:
    """What to quantize, and how; for the attributes see `doit_tflm.quantize_model`."""

    model: str | Path | ModelSpec
    output: str = ""
    weights: str = ""
    build: bool = False
    update_archive: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    samples: str = ""
    keras_model: Any = None

    @property
    def is_plain(self) -> bool:
        """Whether the specification and its weights are used as they are."""
        changed = self.weights or self.build or self.settings or self.keras_model is not None
        return not (changed or self.samples)


@dataclass(frozen=True)
class Quantized:
    """What came of an order.

    Attributes
    ----------
    path : Path
        The ``.tflite``.
    code : int
        An exit code as doit's: 0 for success. A build that failed has said why.
    logs : tuple of Path
        What TensorFlow printed, then or earlier.
    directory : Path, optional
        The build directory of the project's build.
    """

    path: Path
    code: int
    logs: tuple[Path, ...]
    directory: Path | None = None


def quantize(order: Order, console: TextIO) -> Quantized:
    """Do what was ordered.

    Parameters
    ----------
    order : Order
        The model, and what to do.
    console : TextIO
        Where the line of each stage goes.

    Returns
    -------
    Quantized
        The ``.tflite``, and whether all went well.

    Raises
    ------
    UserError
        If the order cannot be, or what is built beside the project's build fails.
    """
    if order.build and (order.weights or order.keras_model is not None):
        raise UserError("--build and weights exclude each other", fix="leave one out")
    found = _located(order.model)
    name = f"{found.name}{'.test' if found.is_test else ''}"
    output = output_path(order.output, name) if order.output else None
    if order.weights and Path(order.weights).exists():
        order = replace(order, weights=str(Path(order.weights).absolute()))
    if order.samples:
        order = replace(order, samples=str(Path(order.samples).absolute()))
    if order.is_plain and found.is_built_here and not isinstance(order.model, ModelSpec):
        return _incrementally(order, found, output, console)
    return _once(order, found, output, console)


def _located(model: str | Path | ModelSpec) -> Located:
    if not isinstance(model, ModelSpec):
        return locate(model)
    if model.script:
        return locate(model.script)
    if not model.name:
        raise UserError("a ModelSpec that no script made has no name", fix='give it one: ModelSpec(name="kws")')
    return Located(Path.cwd(), model.name, "", "", is_built_here=False)


def output_path(given: str | Path, name: str) -> Path:
    """Return the ``.tflite`` to write, from what a user names: a file, or a directory for `name`.

    Raises
    ------
    UserError
        If it is a file of another kind.
    """
    path = Path(given).absolute()
    if path.suffix == ".tflite" and not path.is_dir():
        return path
    if path.exists() and not path.is_dir():
        fix = "name a directory, or a file that ends with .tflite"
        raise UserError("exists, and is no directory", str(given), fix)
    return path / f"{name}.tflite"


def _incrementally(order: Order, found: Located, output: Path | None, console: TextIO) -> Quantized:
    """Bring up to date what is wanted of a model of the project."""
    updates = order.update_archive if order.update_archive is not None else output is None
    name = found.trained_as
    with inside(found.root):
        config = read_config()
        if found.is_test:  # which has no C sources
            code = run_alone(config, found, "archive" if updates else "embed", console)
        else:
            # The archive and the C sources, the sources only, or none of both.
            task = "quantize" if updates else "embed" if output else "header"
            code = run_doit(config, [name], console, f"{task}:{name}")
    directory = found.root / config.build_dir / name
    made = directory / f"{name}.tflite"
    if code == 0 and output is not None:
        write_out(output, made.read_bytes())
    return Quantized(output or made, code, tuple(sorted(directory.glob("*.log"))), directory)


def _once(order: Order, found: Located, output: Path | None, console: TextIO) -> Quantized:
    """Build a model in one go."""
    from doit_tflm.once import Wanted

    with inside(found.root), tempfile.TemporaryDirectory() as scratch:
        config = read_config()
        target = output or _default_output(found, config)
        script = found.script or (_script_in(found, scratch) if found.archive else "")
        wanted = Wanted(
            archive_path=found.archive,
            converter=config.converter,
            output=str(target),
            update_archive=_updates_archive(order, found, output),
            weights=_weights(order, found, scratch),
            build=order.build,
            settings=_settings(order.settings),
            samples=order.samples or _samples_of_project(order, found, config),
            name=found.trained_as if found.is_test else "",
        )
        log = _log(found, config)
        began = time.monotonic()
        try:
            with _shown(found.name, console) as progress:
                notes = _built(order, script, wanted, log, progress)["notes"]
        except UserError as error:
            detail = "\n".join(filter(None, [error.detail.rstrip(), f"log: {log}"]))
            raise UserError(error.what, error.where, error.fix, detail) from error
    how = "; ".join(_differences(order, found)) or "once"
    console.write(f"{found.name}: quantize   ({how})  {time.monotonic() - began:.1f} s\n")
    console.writelines(f"{found.name}: warning: {note}\n" for note in notes)
    return Quantized(target, 0, (found.root / log,))


@contextmanager
def _shown(name: str, console: TextIO) -> Iterator[Progress]:
    """Show the progress of the block, where that is a terminal and takes long."""
    if not console.isatty():
        yield lambda *_: None
        return
    display = Display()
    try:
        yield lambda *far: display.update(name, name, *far)
    finally:
        display.close()


def _built(order: Order, script: str, wanted: Wanted, log: str, progress: Progress) -> dict[str, Any]:
    """Build in the worker process; in this one, where it holds what is used."""
    if not isinstance(order.model, ModelSpec) and order.keras_model is None and not _holds_code(wanted.settings):
        try:
            arguments = {"script": script, "wanted": asdict(wanted)}
            return run_aside("doit_tflm.once:quantize_script", arguments, log, progress)
        finally:
            close_workers()
    from doit_tflm.once import quantize_once
    from doit_tflm.script import Script, loaded, surroundings
    from doit_tflm.worker_main import output_to

    with output_to(log):
        if isinstance(order.model, ModelSpec):
            path = script or f"specification of {order.model.name}"
            with surroundings(path):
                running = Script(path, order.model, ModuleType(order.model.name))
                return quantize_once(running, wanted, order.keras_model)
        with loaded(script) as running:
            return quantize_once(running, wanted, order.keras_model)


def _holds_code(settings: Mapping[str, Any]) -> bool:
    return any(callable(value) for value in settings.values())


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return converter settings as plain data, checked; functions as they are."""
    canonical = ConverterSettings(dict(given)).canonical()
    return {key: value if callable(value) else canonical[key] for key, value in given.items()}


def _differences(order: Order, found: Located) -> Iterator[str]:
    """Say in what the model is another than the project's build makes."""
    if isinstance(order.model, ModelSpec):
        yield "a specification in memory"
    if order.keras_model is not None:
        yield "a model in memory"
    if order.build:
        yield "built, and trained for one epoch on a few samples"
    if order.weights:
        yield f"weights {Path(order.weights).name}"
    if order.settings:
        yield f"other {', '.join(order.settings)}"
    if order.samples:
        yield f"samples {Path(order.samples).name}"
    if found.is_test:
        yield "a dry run's"


def _updates_archive(order: Order, found: Located, output: Path | None) -> bool:
    """Tell whether the ``.tflite`` goes into the archive."""
    if order.update_archive is None:
        # Elsewhere nothing else would hold it, and samples are all that MLTK's own specifications may lack.
        is_plain = order.is_plain or (not found.is_built_here and replace(order, samples="").is_plain)
        return is_plain and output is None and bool(found.archive) and Path(found.archive).exists()
    if order.update_archive and not (found.archive and Path(found.archive).exists()):
        raise UserError("there is no archive to update", found.archive or found.name, "train the model first")
    return order.update_archive


def _default_output(found: Located, config: Config) -> Path:
    """Return where a model goes that nobody named a place for."""
    if found.is_built_here:
        return found.root / config.build_dir / found.trained_as / ONCE
    beside = Path(found.archive or found.script).absolute().parent if found.archive or found.script else Path.cwd()
    return beside / f"{found.name}.tflite"


def _samples_of_project(order: Order, found: Located, config: Config) -> str:
    """Return the file of samples that the project's settings name for a model; empty if there is none."""
    is_taken = found.is_built_here and "representative_dataset" not in order.settings
    return config.samples.get(found.name, "") if is_taken else ""


def _log(found: Located, config: Config) -> str:
    if found.is_built_here:
        return f"{config.build_dir}/{found.trained_as}/{ONCE_LOG}"
    # Beside nobody's files, and there afterwards for a message to name.
    return f"{tempfile.gettempdir()}/doit-tflm-{found.name}-{os.getuid()}.log"


def _script_in(found: Located, scratch: str) -> str:
    """Extract the specification that an archive holds, and return its path."""
    # The archive of a dry run is called as the model by MLTK's members, and as itself by ours.
    names = archive.members(found.archive)
    both = (f"{model_of(found.archive)}.py", f"{found.name}.py")
    member = next((one for one in both if one in names), "")
    content = archive.read_member(found.archive, member) if member else None
    if content is None:
        raise UserError(f"has no {both[1]}", found.archive, "give the path of the specification script instead")
    path = Path(scratch, member)
    path.write_bytes(content)
    return str(path)


def _weights(order: Order, found: Located, scratch: str) -> str:
    """Return the file that ``--weights`` means; empty for the archive's own."""
    value = order.weights
    if not value or Path(value).is_absolute():
        return value
    kept = archive.members(found.archive) if found.archive and Path(found.archive).exists() else []
    names = [name.removeprefix(_WEIGHTS) for name in kept if name.startswith(_WEIGHTS)]
    if value == "best" and names:
        history = json.loads(archive.read_member(found.archive, _HISTORY) or b"{}")
        chosen = best_epoch(names, history)
    else:
        chosen = value
    if chosen not in names:
        listed = ", ".join(sorted(names)) or "no weights of single epochs"
        raise UserError(
            f"there are no weights {value!r}; the archive has {listed}", fix="give a path, or the name of one"
        )
    content = archive.read_member(found.archive, f"{_WEIGHTS}{chosen}")
    assert content is not None
    # A member may be called as if it lay somewhere else.
    extracted = Path(scratch, Path(chosen).name)
    extracted.write_bytes(content)
    return str(extracted)
