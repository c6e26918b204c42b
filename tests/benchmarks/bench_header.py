"""How long the C array of a 2 MB model takes, side by side with ``xxd -i`` (Debian's package xxd).

Both read the model from a file and write the C text to another, turn by turn, so that both meet the same machine.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from doit_tflm.header import HeaderFacts, render_source

MODEL_BYTES = 2_000_000
ROUNDS = 15


def elapsed_s(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def make_facts(data: bytes) -> HeaderFacts:
    digest = hashlib.sha256(data).hexdigest()
    return HeaderFacts(model="bench", version=1, inputs=(), outputs=(), sha256=digest, generator="the benchmark")


def compare(directory: Path, xxd: str | None) -> None:
    """Print the medians and their ratio."""
    model = directory / "model.tflite"
    data = random.Random(0).randbytes(MODEL_BYTES)
    model.write_bytes(data)
    facts = make_facts(data)

    def ours() -> None:
        (directory / "ours.c").write_bytes(render_source(facts, model.read_bytes()).encode("ascii"))

    def theirs() -> None:
        subprocess.run([str(xxd), "-i", str(model), str(directory / "theirs.c")], check=True)

    print(f"{MODEL_BYTES} bytes, medians of {ROUNDS} rounds")
    print(f"first call (imports jinja2): {elapsed_s(ours) * 1000:8.1f} ms")
    times_s = [(elapsed_s(ours), elapsed_s(theirs) if xxd else 0.0) for _ in range(ROUNDS)]
    ours_s, theirs_s = (statistics.median(column) for column in zip(*times_s, strict=True))
    print(f"render_source:               {ours_s * 1000:8.1f} ms")
    if xxd is None:
        print("xxd is not installed (Debian package xxd): nothing to compare with")
        return
    print(f"xxd -i:                      {theirs_s * 1000:8.1f} ms")
    print(f"xxd -i takes {theirs_s / ours_s:.1f} times as long as render_source")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), shutil.which("xxd"))
