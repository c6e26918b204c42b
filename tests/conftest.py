"""What tests share: small projects, and the real doit run in them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from doit_tflm import archive

HERE = Path(__file__).parent

DODO = """\
from doit_tflm import doit_config, model_tasks

DOIT_CONFIG = doit_config()


def task_models():
    yield from model_tasks()
"""

SPEC = """\
import numpy as np

from doit_tflm import ModelSpec

SCALE = 1.0

my_model = ModelSpec(version=1, description="a test model", classes=["no", "yes", "on", "off"])
my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.tflite_converter["representative_dataset_max_samples"] = 20
my_model.model_parameters["volume_db"] = 5.0


def load(subset):
    x = np.linspace(-SCALE, SCALE, 160, dtype=np.float32).reshape(40, 4)
    return x, x.sum(axis=1)


my_model.dataset = load
my_model.epochs = 3
"""

_LINE = re.compile(r"^(?P<model>[^\s:]+): (?P<stage>[a-z]+) +\((?P<why>.*)\)  [0-9.]+ s$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What a run of doit did.

    Attributes
    ----------
    code : int
        Its exit code.
    out, err : str
        What it printed.
    """

    code: int
    out: str
    err: str

    @property
    def ran(self) -> list[str]:
        """The stages that ran, as ``model:stage``, in order."""
        return [f"{found['model']}:{found['stage']}" for found in _LINE.finditer(self.out)]

    @property
    def stages(self) -> list[str]:
        """The stages that ran, whichever model's they are."""
        return [name.partition(":")[2] for name in self.ran]

    def why(self, stage: str) -> str:
        """Return why a stage ran."""
        return next(found["why"] for found in _LINE.finditer(self.out) if found["stage"] == stage)


class Project:
    """A project in a directory of its own, with the stand-in converter."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        return self.root / name

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that occurs once."""
        text = self.path(name).read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        self.write(name, text.replace(old, new))

    def add_model(self, name: str, spec: str = SPEC, weights: bytes = b"weights") -> None:
        self.write(f"models/{name}.py", spec)
        archive.update_members(self.path(f"models/{name}.mltk.zip"), {f"{name}.keras": weights})

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "doit", *arguments]

    def environment(self, **extra: str) -> dict[str, str]:
        cleared = {k: v for k, v in os.environ.items() if not k.startswith(("DOIT", "SOURCE_DATE_EPOCH"))}
        return {**cleared, "PYTHONDONTWRITEBYTECODE": "1", **extra}

    def doit(self, *arguments: str, timeout_s: float = 120, **environment: str) -> Run:
        """Run the real doit."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the real doit, in a process group of its own, and do not wait for it."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Where the tests run in a shell's background, SIGINT is ignored, and ignoring is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )

    def build(self, *options: str, **environment: str) -> Run:
        """Run ``doit quantize`` and expect it to succeed."""
        run = self.doit(*options, "quantize", **environment)
        assert run.code == 0, run.out + run.err
        return run

    def copy_to(self, root: Path, copy: Callable[[str, str], object] = shutil.copy2) -> Project:
        """Return a copy of the whole directory; with `copy2`, files keep their times."""
        shutil.copytree(self.root, root, copy_function=copy, symlinks=True)
        return Project(root)

    def files(self) -> dict[str, bytes]:
        """Return every file below the project, by its path."""
        found = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in found}

    def outputs(self) -> dict[str, bytes]:
        """Return what a build makes: the .tflite models, those in the archives, and the C sources."""
        found = {
            path: path.read_bytes()
            for path in sorted(self.root.glob("build/*/**/*"))
            if path.is_file() and path.suffix != ".log"
        }
        found |= {path: path.read_bytes() for path in sorted(self.root.glob("firmware/**/*")) if path.is_file()}
        contents = {path.relative_to(self.root).as_posix(): content for path, content in found.items()}
        for path in sorted(self.root.glob("models/*.mltk.zip")):
            model = path.name.removesuffix(".mltk.zip")
            contents[f"{path.name}!{model}.tflite"] = archive.read_member(path, f"{model}.tflite") or b""
        return contents


def _new_project(root: Path, models: tuple[str, ...]) -> Project:
    project = Project(root)
    project.write("dodo.py", DODO)
    project.write("pyproject.toml", '[tool.doit-tflm]\nconverter = "standin:Converter"\n')
    shutil.copy(HERE / "standin.py", project.path("standin.py"))
    for name in models:
        project.add_model(name)
    return project


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Return a function that makes a project: ``make_project(directory, models)``."""

    def make(directory: str = "project", models: tuple[str, ...] = ("kws",)) -> Project:
        return _new_project(tmp_path / directory, models)

    return make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that is built, for `built` to copy."""
    project = _new_project(tmp_path_factory.mktemp("template") / "project", ("kws",))
    project.build()
    return project


@pytest.fixture
def built(template: Project, tmp_path: Path) -> Project:
    """Return a project with one model, ``kws``, that is built: a copy, which saves the time of building it."""
    return template.copy_to(tmp_path / "project")


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Return a project with one model, ``kws``."""
    return make_project()
