"""The project's settings: the table ``[tool.doit-tflm]`` in pyproject.toml."""

from __future__ import annotations

import difflib
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from doit_tflm.errors import UserError
from doit_tflm.files import normalise
from doit_tflm.firmware_settings import Firmware, parse_firmware

__all__ = ["FACETS", "Config", "read_config"]

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
    firmware : Firmware
        What ``doit firmware`` builds.
    """

    models_dir: str = "models"
    build_dir: str = "build"
    header_dir: str = "firmware/generated"
    converter: str = "doit_tflm.convert:TensorFlowConverter"
    programs: dict[str, list[str]] = field(default_factory=dict)
    firmware: Firmware = field(default_factory=Firmware)

    @property
    def journal(self) -> str:
        """The journal's path."""
        return f"{self.build_dir}/.doit-tflm.journal"

    def specs(self) -> list[str]:
        """Return the paths of the specification scripts, sorted."""
        names = sorted(path.name for path in Path(self.models_dir).glob("[!_.]*.py"))
        return [f"{self.models_dir}/{name}" for name in names]


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
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"use {', '.join(known)}"
            raise UserError(f"[tool.doit-tflm] has no setting {key!r}", str(path), fix)
        if key == "firmware":
            continue
        if key == "programs":
            _check_programs(value, path)
        elif not isinstance(value, str) or not value:
            raise UserError(f"[tool.doit-tflm] {key} is {value!r}", str(path), 'give a path, e.g. "models"')
    kept: dict[str, Any] = {key: value for key, value in table.items() if key in ("converter", "programs")}
    firmware = parse_firmware(table.pop("firmware", {}), path)
    paths: dict[str, Any] = {key: normalise(value, root) for key, value in table.items() if key not in kept}
    return Config(**paths, **kept, firmware=firmware)


def _check_programs(value: Any, path: Path) -> None:
    """Raise an error where programs are not lists of models."""
    fix = 'write a list of models for each program: app = ["kws", "sine"]'
    if not isinstance(value, dict):
        raise UserError(f"[tool.doit-tflm] programs is {value!r}", str(path), fix)
    for name, models in value.items():
        if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
            raise UserError(f"[tool.doit-tflm.programs] {name} is {models!r}", str(path), fix)


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
