"""What every stage's function shares: it reads files, writes files, and returns what it read and wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from doit_tflm.files import digest_bytes, write_if_changed

__all__ = ["Result", "done", "stored", "written"]

Result = dict[str, Any]
"""``inputs``, ``outputs``: values by key (`doit_tflm.observe`); ``notes``: warnings; ``says``: results to show."""


def written(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Write files, the unchanged ones left alone, and return their digests."""
    for path, content in contents.items():
        write_if_changed(path, content)
    return {path: digest_bytes(content) for path, content in contents.items()}


def done(
    outputs: Mapping[str, bytes],
    inputs: Mapping[str, str | None] | None = None,
    notes: Iterable[str] = (),
    says: Iterable[str] = (),
) -> Result:
    """Write a stage's outputs and return what it did."""
    return {"inputs": dict(inputs or {}), "outputs": written(outputs), "notes": list(notes), "says": list(says)}


def stored(directory: str, name: str) -> dict[str, Any]:
    """Return what a JSON file of a model's build directory holds: a facet, or another."""
    found: dict[str, Any] = json.loads((Path(directory) / f"{name}.json").read_bytes())
    return found
