"""What a stage depends on, named by keys, and what can be seen of it now.

========================  ====================================================================
key                       value: equal values mean that nothing changed
========================  ====================================================================
``path``                  digest of the file's content
``archive.zip!member``    digest of the member's content
``glob:pattern``          digest of the sorted names that match
``version:package``       the installed version
``value:name=text``       text: a setting of the project, part of the key itself
``setting:facet#name``    one setting of a facet file, as text
========================  ====================================================================

The value is None where there is no such thing.
"""

from __future__ import annotations

import glob
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from doit_tflm._version import __version__
from doit_tflm.archive import member_digest
from doit_tflm.files import DigestCache, Stamp, digest_bytes, stamp

__all__ = ["View", "describe", "distributions", "input_file", "is_path", "observe", "version"]


_NO_FILE = ("glob:", "version:", "value:", "setting:")


@cache
def version(package: str) -> str | None:
    """Return the version of an installed distribution, without importing it."""
    if package == "doit-tflm":
        # An editable installation's metadata are as old as the installation.
        return __version__
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def distributions() -> Mapping[str, list[str]]:
    """Return the distributions that hold each top-level module."""
    from importlib import metadata

    found = dict(metadata.packages_distributions())
    if sys.version_info < (3, 11):  # which knows only distributions with a top_level.txt
        for distribution in metadata.distributions():
            for module in {file.parts[0].removesuffix(".py") for file in distribution.files or ()} - found.keys():
                found[module] = [distribution.metadata["Name"]]
    return found


def is_path(key: str) -> bool:
    """Tell whether a key names a file as a whole."""
    return "!" not in key and not key.startswith(_NO_FILE)


def observe(key: str, mark: Stamp | None, digests: DigestCache) -> str | None:
    """Return what a key's value is now; `mark` is the stamp of the file behind it."""
    if key.startswith("version:"):
        return version(key[8:])
    if key.startswith("value:"):
        return key.partition("=")[2]
    if key.startswith("setting:"):
        path, _, name = key[8:].partition("#")
        return _setting(path, name)
    if key.startswith("glob:"):
        return digest_bytes("\n".join(matches(key[5:])).encode())
    if "!" in key:
        archive, member = key.split("!", 1)
        return digests.get(archive, mark, member, member_digest)
    return digests.get(key, mark)


def _setting(path: str, name: str) -> str | None:
    """Return one setting of a facet file as text; None where there is none."""
    try:
        facet = json.loads(Path(path).read_bytes())
        return json.dumps(facet[name], sort_keys=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def matches(pattern: str) -> list[str]:
    """Return the sorted files that match a pattern; ``**`` matches any number of directories."""
    return sorted(glob.glob(pattern, recursive=True))


class View(dict[str, "str | None"]):
    """The values of keys, each as it was when it was first asked for.

    Many stages ask for the same keys. A view is good until a task has run, which may have written any file.

    Parameters
    ----------
    digests : DigestCache
        The digests that are known.
    """

    def __init__(self, digests: DigestCache) -> None:
        super().__init__()
        self.digests = digests
        self.marks: dict[str, Stamp | None] = {}

    def __missing__(self, key: str) -> str | None:
        """Observe a key."""
        if ":" not in key and "!" not in key:
            # A plain file, as most are.
            mark = self.marks[key] = stamp(key)
            value = self[key] = self.digests.get(key, mark)
            return value
        path = input_file(key)
        mark = self.marks.get(path)
        if path and path not in self.marks:
            # Before the content is read, so that a later write is told by its mark.
            mark = self.marks[path] = stamp(path)
        value = self[key] = observe(key, mark, self.digests)
        return value

    def unmoved(self, key: str) -> bool:
        """Tell whether the file behind a key was not written since the key was observed."""
        path = input_file(key)
        return not path or stamp(path) == self.marks[path]


def input_file(key: str) -> str:
    """Return the file behind a key, or "" where there is none."""
    return "" if key.startswith(_NO_FILE) else key.split("!", 1)[0]


def describe(key: str, before: str | None, now: str | None) -> str:
    """Say in a few words how a key's value changed."""
    if key.startswith("version:"):
        return f"{key[8:]}: {before or 'none'} → {now or 'none'}"
    if key.startswith("glob:"):
        return f"other files match {key[5:]}"
    if key.startswith("setting:"):
        return f"{key.partition('#')[2]} changed"
    if key.startswith("value:"):
        return key[6:].replace("=", " is now ")
    name = key.split("!", 1)[1] if "!" in key else key
    return f"{name} is new" if before is None else f"{name} is gone" if now is None else f"{name} changed"
