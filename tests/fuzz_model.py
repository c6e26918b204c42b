"""What the fuzz test does to a project, as plain data, and what must come out of it.

A `Machine` is a project with three models, the state of its sources, and operations on both. An operation is a
tuple, its name first, so that a failing sequence prints as something that can be read and replayed.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conftest import DODO, HERE, Project
from doit_tflm import archive

MODELS = ("alpha", "beta", "gamma")
JOURNAL = "build/.doit-tflm.journal"
TIMEOUT_S = 90
HOLDS = {"slow-script": "", "slow-load": "", "slow-calibration": "0.25"}
"""Files that make a part of the build slow, so that something can happen in the middle of it."""

SPEC = """\
import os
import subprocess
import time

if os.path.exists("slow-script"):
    time.sleep(0.15)

import numpy as np
import common

from doit_tflm import ModelSpec

SCALE = {scale}
# {comment}


def load(subset):
    import _local

    if os.path.exists("slow-load"):
        time.sleep(0.15)
    with open("data/points.csv") as lines:
        points = [float(line) for line in lines if not line.startswith("#")]
    # What another process reads, Python does not notice: that is what data_files is for.
    names = sorted(name for name in os.listdir("data") if name.endswith(".bin"))
    extra = sum(subprocess.check_output(["cat", *("data/" + name for name in names)]))
    x = np.linspace(-SCALE, SCALE, 160, dtype=np.float32).reshape(40, 4)
    x = common.shifted(x) + sum(points) + extra / 1000 + _local.ADDED
    return x.astype(np.float32), x.sum(axis=1)


def generator():
    for row in load("training")[0][:15]:
        yield [row[None]]


{model} = ModelSpec(version=1, description="{description}" + common.SUFFIX, classes={classes})
{model}.tflite_converter["inference_input_type"] = "{io}"
{model}.tflite_converter["inference_output_type"] = "{out}"
{model}.tflite_converter["supported_ops"] = {ops}
{model}.tflite_converter["allow_custom_ops"] = {custom}
{model}.tflite_converter["representative_dataset"] = {drawn_by}
{model}.tflite_converter["representative_dataset_max_samples"] = {max}
{model}.model_parameters["volume_db"] = {volume}
{model}.dataset = load
{model}.data_files = ["data/*.bin"]
{model}.weights = "{weights}"
{model}.epochs = {epochs}
{model}.evaluate_as = "regressor"
{model}.golden_vectors = {golden}
{model}.arena_margin = {margin}
{model}.header.array_name = "{array}"
{model}.header.section = "{section}"
{model}.header.form = "{form}"
{model}.header.directory = "{directory}"
"""

COMMON = """\
# {remark}
OFFSET = {offset}
SUFFIX = "{suffix}"
UNUSED = {unused}


def shifted(x):
    return x + OFFSET
"""

SETTINGS: dict[str, tuple[Any, ...]] = {
    "io": ("int8", "uint8", "float32"),
    "out": ("int8", "float32"),
    "ops": ('["TFLITE_BUILTINS_INT8"]', '["TFLITE_BUILTINS_INT8", "TFLITE_BUILTINS"]'),
    "custom": (False, True),
    "drawn_by": ('"generate"', "generator"),
    "max": (20, 10, 40, 50),
    "description": ("one", "two"),
    "classes": (["no", "yes", "on", "off"], ["a", "b", "c", "d"], []),
    "volume": (5.0, 6.0, '"high"'),
    "epochs": (3, 4),
    "golden": (3, 0, 5),
    "margin": (0.1, 0.5),
    "scale": (1.0, 2.0),
    "comment": ("plain", "other"),
    "section": ("", ".model"),
    "form": ("pair", "single", "incbin"),
    "directory": ("", "firmware/other", "firmware/deep/er"),
    "array": ("", "g_array"),
    "weights": ("", "weights/file.keras"),
    # Members of the archive.
    "keras": (b"w0", b"w1", None),
    "h5": (None, b"h0", b"h1"),
}
"""What can be edited of a model, and the values that it takes."""

SHARED: dict[str, tuple[Any, ...]] = {
    "offset": (0.0, 1.0),
    "suffix": ("", "!"),
    "unused": (1, 2),
    "remark": ("plain", "other"),
    "local": (0.0, 3.0),
    "points": ("1", "2"),
    "tail": ("", "# a line that the dataset skips\n"),
    "extra": (b"\x01", b"\x02"),
    "more": (None, b"\x00", b"\x05"),
    "file": (b"f0", b"f1"),
    "header_dir": ("firmware/generated", "firmware/moved"),
}
"""What can be edited beside the models."""

State = dict[tuple[str, str], int]
"""The index of every setting's value, by owner and setting."""


class WrongBuildError(AssertionError):
    """The build is not what a clean build is."""


class Sources:
    """What a state means in files.

    Parameters
    ----------
    converter : str
        The project's setting; the real converter when empty.
    weights : mapping
        Other weights, for a real converter, than those of `SETTINGS`.
    """

    def __init__(self, converter: str = "standin:Converter", weights: dict[bytes, bytes] | None = None) -> None:
        self.converter = converter
        self.weights = weights or {}

    def files(self, state: State) -> dict[str, bytes]:
        """Return the shared files."""
        value = {setting: values[state["", setting]] for setting, values in SHARED.items()}
        table = f'[tool.doit-tflm]\nheader_dir = "{value["header_dir"]}"\n'
        table += f'converter = "{self.converter}"\n' if self.converter else ""
        found = {
            "dodo.py": DODO.encode(),
            "pyproject.toml": table.encode(),
            "standin.py": (HERE / "standin.py").read_bytes(),
            "common.py": COMMON.format(**value).encode(),
            "models/_local.py": f"ADDED = {value['local']}\n".encode(),
            "data/points.csv": f"{value['points']}\n{value['tail']}".encode(),
            "data/extra.bin": value["extra"],
            "weights/file.keras": self.weights.get(value["file"], value["file"]),
        }
        return found | ({} if value["more"] is None else {"data/more.bin": value["more"]})

    def spec(self, state: State, model: str) -> bytes:
        """Return a model's specification."""
        value = {setting: values[state[model, setting]] for setting, values in SETTINGS.items()}
        return SPEC.format(model=model, **value).encode()

    def members(self, state: State, model: str) -> dict[str, bytes]:
        """Return the weights in a model's archive."""
        keras, h5 = (SETTINGS[kind][state[model, kind]] for kind in ("keras", "h5"))
        if keras is None and h5 is None:
            keras = SETTINGS["keras"][0]
        both = {f"{model}.keras": keras, f"{model}.h5": h5}
        return {name: self.weights.get(data, data) for name, data in both.items() if data is not None}

    def key(self, state: State, model: str) -> str:
        """Return a digest of all that a model is made of."""
        parts = [model.encode(), self.spec(state, model)]
        for name, data in sorted((self.files(state) | self.members(state, model)).items()):
            parts += [name.encode(), data]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


class Oracle:
    """What clean builds make of states; each model's state is built once."""

    def __init__(self, directory: Path, sources: Sources) -> None:
        self.directory = directory
        self.sources = sources
        self.built = 0
        self._known: dict[str, dict[str, bytes]] = {}

    def outputs(self, state: State, models: Sequence[str]) -> dict[str, bytes]:
        """Return the outputs of a clean build in a fresh directory."""
        keys = {model: self.sources.key(state, model) for model in models}
        missing = [model for model, key in keys.items() if key not in self._known]
        if missing:
            self._build(state, missing, keys)
        return {name: data for key in keys.values() for name, data in self._known[key].items()}

    def _build(self, state: State, models: Iterable[str], keys: dict[str, str]) -> None:
        self.built += 1
        project = Project(self.directory / f"clean{self.built}")
        for name, data in self.sources.files(state).items():
            write(project.path(name), data)
        for model in models:
            write(project.path(f"models/{model}.py"), self.sources.spec(state, model))
            write(project.path(f"models/{model}.mltk.zip"), zipped(self.sources.members(state, model)))
        run = project.doit("quantize")
        if run.code:
            raise WrongBuildError(f"a clean build fails\n{run.out}{run.err}")
        for name, data in project.outputs().items():
            model = next(model for model in models if model in name)
            self._known.setdefault(keys[model], {})[name] = data
        shutil.rmtree(project.root)


def write(path: Path, data: bytes, how: str = "in place") -> None:
    """Write a file in place, as a new file renamed to it, or with the date that it had before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None
    if how == "renamed":
        path.with_name(path.name + "~").write_bytes(data)
        path.with_name(path.name + "~").replace(path)
    else:
        path.write_bytes(data)
    if how == "same date" and before is not None:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def zipped(members: dict[str, bytes], style: int = 0) -> bytes:
    """Return members as a zip; the style decides order, compression and dates."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[style % 2]) as new:
        for name, data in sorted(members.items(), reverse=style % 4 > 1):
            new.writestr(zipfile.ZipInfo(name, (2000 + style, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()


class Machine:
    """A project, and the operations on it.

    Attributes
    ----------
    log : list of str
        What was done, and what doit said to it.
    """

    def __init__(self, root: Path, oracle: Oracle, models: Sequence[str] = MODELS) -> None:
        self.project = Project(root)
        self.oracle = oracle
        self.models = tuple(models)
        self.log: list[str] = []
        self.state: State = {("", setting): 0 for setting in SHARED}
        self.state |= {(model, setting): 0 for model in self.models for setting in SETTINGS}
        self.states = [dict(self.state)]
        self._forgotten: set[str] = set()
        self._journals: list[bytes] = []
        self._trees: list[Path] = []
        for name, data in oracle.sources.files(self.state).items():
            write(self.project.path(name), data)
        for model in self.models:
            write(self.project.path(f"models/{model}.py"), oracle.sources.spec(self.state, model))
            self._write_archive(model, self.state, 0)

    # ---- rounds

    def play(self, operations: Iterable[tuple[Any, ...]], options: Sequence[str] = ()) -> None:
        """Do a round: operations, a build, and the comparison with a clean build.

        Raises
        ------
        WrongBuildError
            If the build is not what a clean build is.
        """
        for operation in operations:
            self.do(operation)
        self.build(options)

    def do(self, operation: tuple[Any, ...]) -> None:
        """Do one operation."""
        self.log.append(repr(operation))
        getattr(self, "_do_" + operation[0])(*operation[1:])

    def build(self, options: Sequence[str] = ()) -> None:
        """Build everything, and compare."""
        run = self._doit(*options, "quantize")
        if run.code:
            raise self._wrong("a build fails that succeeds in a fresh directory")
        self._compare()
        again = self._doit("quantize")
        models = "1 model is" if len(self.models) == 1 else f"{len(self.models)} models are"
        if (again.code, again.out) != (0, f"{models} up to date\n"):
            raise self._wrong("a build with nothing changed has work to do")
        self.states.append(dict(self.state))
        self._remember()

    def _compare(self) -> None:
        wanted = self.oracle.outputs(self.state, self.models)
        found = self.project.outputs()
        for name in sorted(found.keys() - wanted.keys() & self._forgotten):
            # Nothing can know any more that this was an output, or it was changed by hand and is the user's now.
            self.project.path(name).unlink()
            del found[name]
        self._forgotten.clear()
        differ = {name for name in wanted.keys() & found.keys() if wanted[name] != found[name]}
        for what, names in (
            ("differs", differ),
            ("is missing", wanted.keys() - found.keys()),
            ("is left over", found.keys() - wanted.keys()),
            ("is left over", {str(path) for path in self.project.root.rglob(".*.part")}),
        ):
            if names:
                raise self._wrong(f"{', '.join(sorted(names))}: {what}, compared with a clean build")

    def _wrong(self, what: str) -> WrongBuildError:
        return WrongBuildError("\n".join([*self.log, what]))

    def _remember(self) -> None:
        """Keep the journal and the build directory, for operations that bring them back."""
        self._journals.append(self.project.path(JOURNAL).read_bytes())
        if len(self._trees) < 3:
            self._trees.append(self.project.root.with_name(f"{self.project.root.name}-tree{len(self._trees)}"))
            shutil.copytree(self.project.path("build"), self._trees[-1])

    # ---- doit

    def _start(self, arguments: Sequence[str]) -> subprocess.Popen[str]:
        return self.project.start(*arguments)

    def _finish(self, process: subprocess.Popen[str], *, killed: bool = False) -> Any:
        """Wait for a doit; none may hang, nor end in a traceback."""
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise self._wrong(f"{process.args} hangs") from None
        self.log.append(f"  $ {' '.join(process.args[2:])} → {process.returncode}")  # type: ignore[index]
        self.log += ["    " + line for line in (out + err).splitlines()]
        if "Traceback (most recent call last):" in err and not killed:
            raise self._wrong("doit ends in a traceback")
        process.stdout_text = out  # type: ignore[attr-defined]
        return process

    def _doit(self, *arguments: str) -> Any:
        process = self._finish(self._start(arguments))
        process.code, process.out = process.returncode, process.stdout_text
        return process

    # ---- operations on the sources

    def _do_edit(self, owner: str, setting: str, value: int, how: str = "in place") -> None:
        """Give a setting another value."""
        values = SETTINGS if owner else SHARED
        self._move({**self.state, (owner, setting): value % len(values[setting])}, how)

    def _do_revert(self, number: int, how: str = "in place") -> None:
        """Go back to a state that was built earlier."""
        self._move(self.states[-1 - number % len(self.states)], how)

    def _move(self, state: State, how: str = "in place") -> None:
        """Change the sources that differ between two states."""
        before, self.state = self.state, dict(state)
        sources = self.oracle.sources
        old, new = sources.files(before), sources.files(state)
        for model in self.models:
            old[f"models/{model}.py"], new[f"models/{model}.py"] = (
                sources.spec(before, model),
                sources.spec(state, model),
            )
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                self.project.path(name).unlink()
            elif old.get(name) != new[name]:
                write(self.project.path(name), new[name], how)
        for model in self.models:
            if sources.members(before, model) != sources.members(state, model):
                self._write_archive(model, state, 0, how)

    def _do_rewrite(self, model: str, style: int) -> None:
        """Write an archive anew with the same members."""
        self._write_archive(model, self.state, style)

    def _write_archive(self, model: str, state: State, style: int, how: str = "in place") -> None:
        path = self.project.path(f"models/{model}.mltk.zip")
        weights = self.oracle.sources.members(state, model)
        kept = {} if not path.exists() else {n: archive.read_member(path, n) or b"" for n in archive.members(path)}
        kept = {name: data for name, data in kept.items() if not name.endswith((".keras", ".h5"))}
        write(path, zipped(kept | weights, style), how)

    def _do_touch(self, number: int, when: str) -> None:
        """Touch any file: now, long ago, at a full second, or in the future."""
        files = sorted(path for path in self.project.root.rglob("*") if path.is_file())
        path = files[number % len(files)]
        self.log.append(f"  {path.relative_to(self.project.root)}")
        now = time.time_ns()
        moment = {"now": now, "old": 10**18, "second": now // 10**9 * 10**9, "future": now + 10**13}[when]
        os.utime(path, ns=(moment, moment))

    # ---- operations on what was built

    def _do_damage(self, number: int, how: str) -> None:
        """Change an output or an intermediate file by hand."""
        built = [p for place in ("build/*/*", "firmware/**/*") for p in sorted(self.project.root.glob(place))]
        files = [path for path in built if path.is_file() and path.suffix != ".log"]
        if not files:
            return
        path = files[number % len(files)]
        name = path.relative_to(self.project.root).as_posix()
        self.log.append(f"  {name}")
        data = path.read_bytes()
        if how in ("edit", "same date"):
            middle = len(data) // 2
            changed = bytes([data[middle] ^ 1]) if data else b"x"
            write(
                path,
                data[:middle] + changed + data[middle + 1 :],
                "same date" if how == "same date" else "in place",
            )
        elif how == "append":
            write(path, data + b"\n")
        elif how == "truncate":
            write(path, data[: number % (len(data) + 1)])
        elif how == "empty":
            write(path, b"")
        elif how == "exchange":
            write(path, files[(number + 1) % len(files)].read_bytes())
        else:
            path.unlink()
            if how == "directory":
                path.mkdir()
        self._forgotten.add(name)

    def _do_remove(self, place: str) -> None:
        """Remove a whole directory of what was built."""
        shutil.rmtree(self.project.path(place), ignore_errors=True)
        if place == "build":
            self._forget()

    def _do_member(self, model: str, how: str) -> None:
        """Change or remove the .tflite in an archive."""
        path = self.project.path(f"models/{model}.mltk.zip")
        kept = {name: archive.read_member(path, name) or b"" for name in archive.members(path)}
        if how == "delete":
            kept.pop(f"{model}.tflite", None)
        else:
            kept[f"{model}.tflite"] = {"empty": b"", "edit": b"TFL3 by hand"}[how]
        write(path, zipped(kept, 1))

    def _do_journal(self, how: str, number: int = 0) -> None:
        """Tear the journal, damage it, remove it, or bring an earlier one back."""
        path = self.project.path(JOURNAL)
        if not path.is_file():
            return
        data = path.read_bytes()
        place = number % (len(data) + 1)
        if how == "tear":
            write(path, data[:place])
        elif how == "damage":
            write(path, data[:place] + b"#" + data[place + 1 :])
        elif how == "garbage":
            write(path, data + bytes(range(256)))
        elif how == "earlier" and self._journals:
            write(path, self._journals[number % len(self._journals)])
        elif how == "delete":
            path.unlink()
        self._forget()

    def _do_restore(self, number: int) -> None:
        """Bring an earlier build directory back, journal and all, as a CI cache does."""
        if self._trees:
            shutil.rmtree(self.project.path("build"), ignore_errors=True)
            shutil.copytree(self._trees[number % len(self._trees)], self.project.path("build"))
            self._forget()

    def _do_forget(self, *what: str) -> None:
        if self._doit("forget", *what).code:
            raise self._wrong("doit forget fails")
        self._forget()

    def _do_clean(self, *what: str) -> None:
        if self._doit("clean", *what).code:
            raise self._wrong("doit clean fails")

    def _forget(self) -> None:
        """Take note that the build no longer knows the C sources that are there."""
        files = (path for path in self.project.root.glob("firmware/**/*") if path.is_file())
        self._forgotten |= {path.relative_to(self.project.root).as_posix() for path in files}

    # ---- builds in which something happens

    def _do_partial(self, target: str, *options: str) -> None:
        """Build one model, or one stage of it."""
        if self._doit(*options, target).code:
            raise self._wrong("a build fails that succeeds in a fresh directory")

    def _do_ask(self, *command: str) -> None:
        """Ask doit something; the answer does not matter here, but it changes nothing."""
        self._doit(*command)

    def _do_kill(self, how: str, delay_ms: int, *options: str) -> None:
        """Send a signal to doit, or to all its processes, while it builds."""
        name, _, group = how.partition(" ")
        process = self._start([*options, "quantize"])
        time.sleep(delay_ms / 1000)
        number = signal.Signals[name]
        if group:
            if process.poll() is None:
                os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        self._finish(process, killed=True)

    def _do_twice(self, delay_ms: int, *options: str) -> None:
        """Build twice at the same time."""
        first = self._start([*options, "quantize"])
        time.sleep(delay_ms / 1000)
        second = self._start(["quantize"])
        for process in (first, second):
            if self._finish(process).returncode:
                raise self._wrong("one of two builds at a time fails")

    def _do_during(self, operation: tuple[Any, ...], delay_ms: int, slow: str, back: str = "") -> None:
        """Do something while a build runs, and perhaps undo it, during the build or when it has ended."""
        if slow:
            self.project.write(slow, HOLDS[slow])
        before = dict(self.state)
        process = self._start(["quantize"])
        time.sleep(delay_ms / 1000)
        self.do(operation)
        if back == "during":
            time.sleep(0.06)
            self._move(before)
        self._finish(process)
        if back == "after":
            self._move(before)
        if slow:
            self.project.path(slow).unlink()

    def dispose(self) -> None:
        """Remove the project; a killed worker may still be about to end."""
        for place in (self.project.root, *self._trees):
            shutil.rmtree(place, ignore_errors=True)
