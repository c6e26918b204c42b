"""What one edit costs: inference_input_type of a reference model, against an import of TensorFlow, side by side.

Run: ``python tests/benchmarks/bench_edit.py [ROUNDS]``. The edit must not draw samples, and not calibrate.
"""

from __future__ import annotations

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

MODELS = HERE.parent.parent / "models"


def edited(project: Project, old: str, new: str) -> tuple[float, list[str]]:
    """Edit the input type, build, and return how long it took and what ran."""
    project.edit(
        "models/image_classification.py", f'inference_input_type"] = {old}', f'inference_input_type"] = {new}'
    )
    start = time.perf_counter()
    run = project.build()
    return time.perf_counter() - start, run.stages


def import_seconds(project: Project) -> float:
    """Return how long an import of TensorFlow takes."""
    start = time.perf_counter()
    command = [sys.executable, "-c", "import tensorflow"]
    subprocess.run(command, cwd=project.root, env=project.environment(), check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the medians, and their difference."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as scratch:
        project = Project(Path(scratch))
        project.write("dodo.py", DODO)
        shutil.copytree(MODELS, project.path("models"), ignore=shutil.ignore_patterns("__pycache__"))
        project.build()
        types = ["tf.int8", "tf.float32"]
        times = []
        for _ in range(rounds):
            seconds, stages = edited(project, *types)
            assert not {"sample", "calibrate"} & set(stages), stages
            types.reverse()
            times.append((seconds, import_seconds(project)))
        edit, tensorflow = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"edit of inference_input_type {edit:.2f} s, import tensorflow {tensorflow:.2f} s, "
            f"difference {edit - tensorflow:+.2f} s, ratio {edit / tensorflow:.2f}"
        )


if __name__ == "__main__":
    main()
