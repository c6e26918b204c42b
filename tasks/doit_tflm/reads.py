"""What the user's code read while a stage ran it, as keys and values (`doit_tflm.observe`)."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from doit_tflm.files import digest_bytes, digest_file, is_settled, normalise, stamp
from doit_tflm.observe import matches, version
from doit_tflm.script import Script, loaded
from doit_tflm.trace import Recorder, recording

__all__ = ["Reading", "reading"]


class Reading:
    """A specification that is being run, and what its code reads.

    Attributes
    ----------
    script : Script
        The specification.
    """

    def __init__(self, script: Script, recorder: Recorder, began_ns: int, directory: str) -> None:
        self.script = script
        self._recorder = recorder
        self._began_ns = began_ns
        self._directory = directory

    def pause(self) -> None:
        """Take no more notes: what follows is not the user's code."""
        self._recorder.active = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take no notes for the block."""
        before, self._recorder.active = self._recorder.active, False
        try:
            yield
        finally:
            self._recorder.active = before

    def inputs(self, *, whole: bool = False) -> dict[str, str | None]:
        """Return the files and directories that were read, by digest; None for a file written meanwhile.

        Parameters
        ----------
        whole : bool
            Count the specification itself as well, as a file.
        """
        self.pause()
        root = os.getcwd()
        own = {os.path.abspath(self.script.path)}
        files = {*self.script.own_modules(), *self._recorder.inputs(root, (self._directory,))} | own
        found = {normalise(path): self._digest(path) for path in sorted(files if whole else files - own)}
        for directory in self._recorder.directories(root, (self._directory,)):
            pattern = f"{glob.escape(normalise(directory))}/*"
            found[f"glob:{pattern}"] = _listing(pattern)
        return found

    def data_inputs(self, facet: Mapping[str, Any]) -> dict[str, str | None]:
        """Return the declared data files, their globs, and the packages that the facet ``calibration`` names."""
        inputs: dict[str, str | None] = {}
        for path, digest in facet.get("data files", {}).items():
            inputs[path] = digest if self._is_settled(path) else None
        inputs |= {f"glob:{pattern}": _listing(pattern) for pattern in self.script.spec.data_files}
        return inputs | {f"version:{package}": version(package) for package in facet.get("packages", ())}

    def _digest(self, path: str) -> str | None:
        return digest_file(path) if self._is_settled(path) else None

    def _is_settled(self, path: str) -> bool:
        """Tell whether a file is there, and was not written since the code began."""
        mark = stamp(path)
        return mark is not None and is_settled(mark, self._began_ns)


def _listing(pattern: str) -> str:
    return digest_bytes("\n".join(matches(pattern)).encode())


@contextmanager
def reading(script: str, directory: str) -> Iterator[Reading]:
    """Run a specification, and keep its surroundings and take notes for the block.

    Parameters
    ----------
    script : str
        The specification.
    directory : str
        The model's build directory, whose files are no inputs.
    """
    import numpy as np  # noqa: F401 - loaded before the script, so that its generator is seeded

    began_ns = time.time_ns()
    with recording() as recorder, loaded(script) as running:
        yield Reading(running, recorder, began_ns, directory)
