"""Training that is asked for by name: ``doit-tflm train`` and `train_model`."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import TextIO

from doit_tflm import archive
from doit_tflm.config import Config, read_config
from doit_tflm.errors import UserError
from doit_tflm.project import Located, inside, locate, run_alone, run_doit
from doit_tflm.train import Asked

__all__ = ["Trained", "run_training", "train_model"]


@dataclass(frozen=True)
class Trained:
    """What a training made.

    Attributes
    ----------
    archive : Path
        The archive, with the weights and the ``.tflite``.
    history : dict
        A list of one value per epoch for each metric; None where the metric came with an edit, or went.
    tflite : Path
        The quantized model.
    """

    archive: Path
    history: dict[str, list[float | None]]
    tflite: Path


def train_model(
    model: str | Path, *, epochs: int | None = None, resume: bool = False, clean: bool = False
) -> Trained:
    """Train a model, put the result into its archive, and quantize it.

    Parameters
    ----------
    model : str or Path
        A model's name in the project around the current directory, or the path of its specification script or
        archive. ``NAME-test`` is a dry run: three batches, into an archive of its own.
    epochs : int, optional
        How many, instead of the specification's; -1 until early stopping ends it.
    resume : bool, optional
        Go on from the last epoch that an earlier training finished.
    clean : bool, optional
        First remove what earlier trainings left in the build directory, TensorBoard's logs as well.

    Returns
    -------
    Trained
        The archive, the history, the ``.tflite``.

    Raises
    ------
    UserError
        If there is no such model, or a stage fails. The archive is as it was, unless the weights were trained.
    """
    output = io.StringIO()
    root, name, code = run_training(model, Asked(epochs, resume, clean), output)
    if code:
        raise UserError(output.getvalue().strip() or f"{model} could not be trained")
    config = read_config(root)
    path = root / config.models_dir / f"{name}.mltk.zip"
    history = json.loads(archive.read_member(path, "train/training-history.json") or b"{}")
    return Trained(path, history, root / config.build_dir / name / f"{name}.tflite")


def run_training(
    model: str | Path, asked: Asked, output: TextIO, *, verbose: bool = False
) -> tuple[Path, str, int]:
    """Train a model, and quantize it.

    Parameters
    ----------
    model : str or Path
        As for `train_model`.
    asked : Asked
        What is asked for.
    output : TextIO
        Where the line of each stage goes.
    verbose : bool, optional
        Whether what Keras prints goes there as well.

    Returns
    -------
    root, name, code
        The project, the name of archive and build directory, and doit's exit code: 0 for success.
    """
    found = locate(model)
    if not found.is_built_here:
        raise UserError("is of no project", str(model), "move it into a project's models_dir")
    with inside(found.root):
        config = read_config()
        log = Path(f"{config.build_dir}/{found.trained_as}/train.log")
        with _following(log, output if verbose else None):
            code = _run(config, found, replace(asked, dry_run=found.is_test), output)
    return found.root, found.trained_as, code


def _run(config: Config, found: Located, asked: Asked, output: TextIO) -> int:
    """Train, then quantize; a dry run as far as the archive."""
    wanted = {key: value for key, value in asdict(asked).items() if value}
    code = run_alone(config, found, "train", output, wanted)
    if code:
        return code
    return run_alone(config, found, "archive", output) if asked.dry_run else run_doit(config, [found.name], output)


@contextmanager
def _following(log: Path, output: TextIO | None) -> Iterator[None]:
    """Copy what is written to a log, while the block runs, to an output."""
    if output is None:
        yield
        return
    log.unlink(missing_ok=True)
    ended = Event()
    thread = Thread(target=_follow, args=(log, output, ended))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _follow(log: Path, output: TextIO, ended: Event) -> None:
    """Copy a log that is being written."""
    place, last = 0, False
    # A character may be written in two parts.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while not last:
        last = ended.wait(0.2)
        if log.is_file():
            with open(log, "rb") as stream:
                stream.seek(place)
                output.write(decoder.decode(stream.read()))
                output.flush()
                place = stream.tell()
