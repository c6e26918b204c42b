"""What a build costs in which nothing changed, against stock doit with as many trivial tasks, side by side.

Run: ``python tests/benchmarks/bench_null.py [MODELS ...]`` (default: 3 100 1000). All sides run in turn, and
the ratios of the medians are what counts: absolute times differ from machine to machine, and with the minute.
A trivial task has three file_deps, two targets and one up-to-date callable, about as a stage of ours; a bare one
has one file_dep and one target. Both use stock doit's json backend and md5 checker.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from conftest import DODO, Project  # noqa: E402 - found through the line above

STOCK = """\
DOIT_CONFIG = {{"backend": "json", "verbosity": 2, "default_tasks": ["quantize"], "reporter": "executed-only"}}


def task_quantize():
    for number in range({count}):
        name = f"{{number:05}}"
        yield {{
            "name": name,
            "actions": [f"cp in/{{name}} out/{{name}}"{copies}],
            "file_dep": [f"in/{{name}}"{inputs}],
            "targets": [f"out/{{name}}"{outputs}],
            "uptodate": [{check}],
        }}
"""
BARE = {"copies": "", "inputs": "", "outputs": "", "check": ""}
TRIVIAL = {
    "copies": ', f"cp in/{name} out/{name}.2"',
    "inputs": ', f"in/{name}.2", f"in/{name}.3"',
    "outputs": ', f"out/{name}.2"',
    "check": "lambda: True",
}
BAN = """\
import sys


class Ban:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "numpy", "keras", "tf_keras"):
            raise RuntimeError(f"{name} is imported")


sys.meta_path.insert(0, Ban())
"""


def make_ours(root: Path, models: int) -> Project:
    """Make a project of models and build it."""
    project = Project(root)
    project.write("dodo.py", DODO)
    project.write("pyproject.toml", '[tool.doit-tflm]\nconverter = "standin:Converter"\n')
    shutil.copy(HERE.parent / "standin.py", project.path("standin.py"))
    for number in range(models):
        project.add_model(f"model_{number:04}")
    build(project)
    return project


def build(project: Project) -> None:
    """Build a project for the first time, which takes a while."""
    run = project.doit("quantize", timeout_s=3600)
    assert run.code == 0, run.out + run.err


def make_stock(root: Path, tasks: int, kind: dict[str, str]) -> Project:
    """Make a project of trivial tasks and run them."""
    project = Project(root)
    project.write("dodo.py", STOCK.format(count=tasks, **kind))
    for number in range(tasks):
        for end in ("", ".2", ".3"):
            project.write(f"in/{number:05}{end}", str(number))
    project.path("out").mkdir()
    build(project)
    return project


def count_tasks(project: Project) -> int:
    """Return the number of tasks that a run of ours looks at."""
    done = json.loads(project.doit("-r", "json", "quantize").out)
    return len(done["tasks"])


def seconds(project: Project) -> float:
    """Return how long a run takes."""
    start = time.perf_counter()
    subprocess.run(
        project.command("quantize"),
        cwd=project.root,
        env=project.environment(),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def check_imports(project: Project) -> None:
    """Run ours with an import of TensorFlow or NumPy made an error."""
    project.write("ban/sitecustomize.py", BAN)
    run = project.build(PYTHONPATH=str(project.path("ban")))
    assert run.stages == [], run.out


def main() -> None:
    """Print a line for each size."""
    for models in [int(argument) for argument in sys.argv[1:]] or [3, 100, 1000]:
        with tempfile.TemporaryDirectory() as scratch:
            ours = make_ours(Path(scratch) / "ours", models)
            check_imports(ours)
            tasks = count_tasks(ours)
            trivial = make_stock(Path(scratch) / "trivial", tasks, TRIVIAL)
            bare = make_stock(Path(scratch) / "bare", tasks, BARE)
            rounds = 15 if models < 500 else 7
            times = [[seconds(project) for project in (ours, trivial, bare)] for _ in range(rounds + 1)][1:]
            mine, theirs, least = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
            print(
                f"{models:5} models, {tasks:5} tasks: ours {mine:5.0f} ms; stock doit with trivial tasks "
                f"{theirs:5.0f} ms, ratio {mine / theirs:.2f}; "
                f"with bare ones {least:5.0f} ms, ratio {mine / least:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
