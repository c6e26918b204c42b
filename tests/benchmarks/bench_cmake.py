"""What a CMake project with many models pays for them, change by change, with Ninja and with Unix Makefiles.

Run: ``python tests/benchmarks/bench_cmake.py [MODELS [C_FILES]]`` (default: 50 models, 30 C files besides one for
each model). The null build is timed side by side with the same project without us: the same C files, and the
arrays lying there. For each change it prints how often doit-tflm was started, which stages ran, how many C files
were compiled, and the same of the build after it, which must do nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bench_null import make_ours  # noqa: E402 - found through the line above

from cmake_project import GENERATORS, Build, CMakeProject  # noqa: E402
from conftest import Project  # noqa: E402

ROUNDS = 31


def make_plain(like: CMakeProject, root: Path, plain: int) -> CMakeProject:
    """Make the same project without us, from the arrays that `like` has."""
    project = CMakeProject(root, like.models, like.project, like.generator)
    arrays = like.build_dir / "doit_tflm" / "app"
    add = f"file(GLOB arrays {arrays}/*.c)\ntarget_sources(app PRIVATE ${{{{arrays}}}})\n"
    project.write(find="", add=add + f"target_include_directories(app PRIVATE {arrays})", plain=plain)
    return project


def must_configure(project: CMakeProject, *, watched: bool) -> None:
    done = project.configure(watched=watched)
    assert done.returncode == 0, done.stderr


def must_build(project: CMakeProject) -> tuple[Build, float]:
    start = time.perf_counter()
    done = project.build()
    assert done.code == 0, done.out
    return done, time.perf_counter() - start


def null_seconds(project: CMakeProject) -> float:
    start = time.perf_counter()
    subprocess.run(project.command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def changes(ours: Project, firmware: CMakeProject) -> dict[str, Callable[[], object]]:
    """Return what a user does, by how it is called."""
    spec, arrays = "models/model_0002.py", firmware.build_dir / "doit_tflm" / "app"

    def comment() -> None:
        with ours.path(spec).open("a") as stream:
            stream.write("# a comment\n")

    return {
        "nothing": lambda: None,
        "a comment in one specification": comment,
        "one setting of one model": lambda: ours.edit(
            spec, '_output_type"] = "int8"', '_output_type"] = "float32"'
        ),
        "touch of all archives": lambda: [path.touch() for path in ours.root.glob("models/*.zip")],
        "an array deleted": (arrays / "model_0003_model_data.c").unlink,
        "a header deleted": (arrays / "model_0004_model_data.h").unlink,
    }


def report(generator: str, root: Path, models: int, plain: int) -> None:
    ours = make_ours(root / "models", models)
    firmware = CMakeProject(root / "app", [f"model_{i:04}" for i in range(models)], ours.root, generator)
    firmware.write(plain=plain)
    must_configure(firmware, watched=True)
    _, first = must_build(firmware)
    print(f"{generator}: {models} models, {plain} C files more; first build {first:.1f} s", flush=True)
    print(f"  {'change':32} {'Python':>6} {'C files':>7} {'s':>6}   again  stages")
    for name, change in changes(ours, firmware).items():
        change()
        (done, seconds), (again, _) = must_build(firmware), must_build(firmware)
        idle = "idle" if (again.pythons, again.compiled) == (0, []) else f"{again.pythons}/{len(again.compiled)}"
        stages = " ".join(done.stages)
        print(
            f"  {name:32} {done.pythons:6} {len(done.compiled):7} {seconds:6.2f}   {idle:5}  {stages}", flush=True
        )
    compare(firmware, root / "plain", plain)


def compare(firmware: CMakeProject, root: Path, plain: int) -> None:
    """Print what a null build takes, beside the same project without us."""
    without = make_plain(firmware, root, plain)
    for project in (firmware, without):
        must_configure(project, watched=False)
        must_build(project)
        must_build(project)
    times = [[null_seconds(project) for project in (firmware, without)] for _ in range(ROUNDS)]
    mine, theirs = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
    print(f"  null build: {mine:.1f} ms; without us {theirs:.1f} ms, ratio {mine / theirs:.2f}", flush=True)


def main() -> None:
    """Print a table for each generator."""
    given = [int(argument) for argument in sys.argv[1:]]
    models, plain = (*given, 50, 30)[:2] if len(given) != 1 else (given[0], 30)
    for generator in GENERATORS:
        with tempfile.TemporaryDirectory() as scratch:
            report(generator, Path(scratch), models, plain)


if __name__ == "__main__":
    main()
