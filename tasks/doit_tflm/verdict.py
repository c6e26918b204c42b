"""Whether a stage must run, and why: what it saw and made when it last succeeded, against what is there now."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from doit_tflm.observe import describe

__all__ = ["facet_changes", "read_facet", "reasons"]

_ABSENT = "none"
_LONGEST = 40


def reasons(
    record: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    see: Callable[[str], str | None],
    facet: Callable[[str], dict[str, Any]] | None = None,
) -> list[str]:
    """Return why a stage must run; nothing means that its outputs are what its inputs give.

    Parameters
    ----------
    record : mapping
        What the stage's last success recorded: ``inputs``, ``outputs`` (values by key) and ``facets``. Empty
        when there is no record.
    inputs, outputs : sequence of str
        The keys that the stage is known to have now. The record may hold more, found while it ran.
    see : callable
        ``see(key)`` returns a key's value now.
    facet : callable, optional
        ``facet(path)`` returns the settings in a facet file; `read_facet` when left out.
    """
    if not record:
        return ["no record of an earlier build"]
    before: Mapping[str, str | None] = record["inputs"]
    made: Mapping[str, str | None] = record["outputs"]
    changed = [key for key, value in before.items() if see(key) != value]
    changed += [key for key in inputs if key not in before]
    why = [text for key in changed for text in _explain(key, record, see, facet or read_facet)]
    lost = [key.split("!", 1)[-1] for key, value in made.items() if value is not None and see(key) is None]
    if lost:
        why.append(
            f"{lost[0]} is missing" if len(lost) == 1 else f"{lost[0]} and {len(lost) - 1} more are missing"
        )
    for key, value in made.items():
        if see(key) not in (value, None):
            why.append(f"{key.split('!', 1)[-1]} was changed by another hand")
    return why + [f"{key} is a new output" for key in outputs if key not in made]


def _explain(
    key: str,
    record: Mapping[str, Any],
    see: Callable[[str], str | None],
    facet: Callable[[str], dict[str, Any]],
) -> list[str]:
    """Return how an input changed, setting by setting where it is a facet."""
    before = record["inputs"].get(key)
    if key in record["facets"] and before is not None and see(key) is not None:
        changes = facet_changes(record["facets"][key], facet(key))
        if changes:
            return changes
    return [describe(key, before, see(key))]


def read_facet(path: str) -> dict[str, Any]:
    """Return the settings that a facet file holds; nothing if it cannot be read (the stage itself will say so)."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facet_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the settings that differ, as ``inference_input_type: int8 → float32``."""
    found = []
    for key in sorted({*before, *now}):
        if isinstance(before.get(key), dict) and isinstance(now.get(key), dict):
            found += facet_changes(before[key], now[key])
        elif before.get(key) != now.get(key):
            old, new = (_short(side[key]) if key in side else _ABSENT for side in (before, now))
            opaque = key.endswith(" code") or "/" in key or "…" in (old + new)
            found.append(f"{key} changed" if opaque else f"{key}: {old} → {new}")
    return found


def _short(value: Any) -> str:
    """Return a setting as text that fits in a line."""
    if isinstance(value, list):
        text = "[" + ", ".join(str(item) for item in value) + "]"
    elif isinstance(value, str):
        text = value or '""'
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
