"""The project's settings: the table ``[tool.doit-tflm]`` in pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from doit_tflm.archive import member_digest
from doit_tflm.errors import UserError, did_you_mean
from doit_tflm.files import normalise
from doit_tflm.firmware_settings import Firmware, parse_firmware

__all__ = ["ARCHIVE", "DRY_RUN", "FACETS", "Config", "model_of", "read_config"]

FACETS = (
    "calibration",
    "converter",
    "evaluation",
    "graph",
    "header",
    "limits",
    "parameters",
    "report",
    "training",
    "verify",
)
"""What a specification is split into: see `doit_tflm.facets`."""

ARCHIVE = ".mltk.zip"
"""How the name of an archive ends."""
DRY_RUN = "-test"
"""What the name of a dry run's archive has behind the model's."""


def model_of(spec: str) -> str:
    """Return the name of the model that a specification script or an archive is of."""
    return Path(spec).name.removesuffix(".py").removesuffix(ARCHIVE)


@dataclass(frozen=True)
class Config:
    """Where things are, relative to the project.

    Attributes
    ----------
    models_dir : str
        Specification scripts ``NAME.py`` and archives ``NAME.mltk.zip``.
    build_dir : str
        Intermediate files, logs and the journal.
    header_dir : str
        The C sources.
    converter : str
        What converts models, ``"module:class"``: an implementation of `doit_tflm.convert.Converter`.
    programs : dict of str to list of str
        Programs that link several models, by name: each gets one op resolver for all of them.
    samples : dict of str to str
        For models by name, a ``.npz`` of representative samples that takes the place of those that the
        specification would give.
    firmware : Firmware
        What ``doit firmware`` builds.
    """

    models_dir: str = "models"
    build_dir: str = "build"
    header_dir: str = "firmware/generated"
    converter: str = "doit_tflm.convert:TensorFlowConverter"
    programs: dict[str, list[str]] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)
    firmware: Firmware = field(default_factory=Firmware)

    @property
    def journal(self) -> str:
        """The journal's path."""
        return f"{self.build_dir}/.doit-tflm.journal"

    def specs(self) -> list[str]:
        """Return the paths of the specification scripts, sorted."""
        names = sorted(path.name for path in Path(self.models_dir).glob("[!_.]*.py"))
        return [f"{self.models_dir}/{name}" for name in names]

    def spec_of(self, model: str) -> str:
        """Return the path of a model's script, also where there is none; of its archive, if that alone has it.

        An archive alone is built when it is asked for by name: who removes a script wants no model of it any more.
        """
        script, archive = (f"{self.models_dir}/{model}{ending}" for ending in (".py", ARCHIVE))
        alone = not Path(script).exists() and member_digest(archive, f"{model}.py") is not None
        return archive if alone else script


def read_config(root: str | Path = ".") -> Config:
    """Read the settings of a project; defaults where there are none.

    Raises
    ------
    UserError
        If the table has an unknown key, or a value that is not one of the key's.
    """
    path = Path(root) / "pyproject.toml"
    if not path.is_file():
        return Config()
    table = _load(path).get("tool", {}).get("doit-tflm", {})
    if not isinstance(table, dict):
        raise UserError(f"tool.doit-tflm is {table!r}", str(path), "write a table: [tool.doit-tflm]")
    known = [one.name for one in fields(Config)]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known:
            fix = did_you_mean(key, known, f"use {', '.join(known)}")
            raise UserError(f"[tool.doit-tflm] has no setting {key!r}", str(path), fix)
        if key in _TABLES:
            values[key] = _TABLES[key](value, path)
        elif not isinstance(value, str) or not value:
            raise UserError(f"[tool.doit-tflm] {key} is {value!r}", str(path), 'give a path, e.g. "models"')
        else:
            values[key] = value if key == "converter" else normalise(value, root)
    return Config(**values)


def _programs(value: Any, path: Path) -> dict[str, list[str]]:
    """Return the programs; raise an error where they are not lists of models."""
    fix = 'write a list of models for each program: app = ["kws", "sine"]'
    if not isinstance(value, dict):
        raise UserError(f"[tool.doit-tflm] programs is {value!r}", str(path), fix)
    for name, models in value.items():
        if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
            raise UserError(f"[tool.doit-tflm.programs] {name} is {models!r}", str(path), fix)
    return value


def _samples(value: Any, path: Path) -> dict[str, str]:
    """Return the files of samples; raise an error where there is not one for each model."""
    if not isinstance(value, dict) or not all(isinstance(file, str) and file for file in value.values()):
        fix = 'write a table of files by model: [tool.doit-tflm.samples] kws = "data/kws.npz"'
        raise UserError(f"[tool.doit-tflm] samples is {value!r}", str(path), fix)
    return {model: normalise(file, path.parent) for model, file in value.items()}


_TABLES: dict[str, Callable[[Any, Path], Any]] = {
    "programs": _programs,
    "samples": _samples,
    "firmware": parse_firmware,
}
"""What checks and reads the settings that are tables."""


def _load(path: Path) -> dict[str, Any]:
    """Parse a TOML file."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not valid TOML: {error}", str(path), "mend it") from None
