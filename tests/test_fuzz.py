r"""Random edits, damage, kills and builds: whatever happens, a build that succeeds equals a clean build.

A round is a few operations on a project with three models, a build by the real ``doit`` with the stand-in
converter, the comparison of all its outputs with those of a build in a fresh directory, and a further build that
must have nothing to do. By default 200 rounds are run, the same in every run. Ten thousand rounds, other ones each
time, spread over all processors::

    DOIT_TFLM_FUZZ_ROUNDS=10000 DOIT_TFLM_FUZZ_SEED=random DOIT_TFLM_FUZZ_SHARDS=64 \
        pytest tests/test_fuzz.py -n auto

``DOIT_TFLM_FUZZ_SEED`` takes a number as well, to repeat a run; ``DOIT_TFLM_FUZZ_SHRINK=1`` has a failing sequence
made as short as possible, which takes some minutes. A failure shows all that was done and what doit said to it,
and the rounds, to be added to ``KNOWN`` for a replay.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz_model import HOLDS, MODELS, SETTINGS, SHARED, Machine, Oracle, Sources, WrongBuildError

ROUNDS = int(os.environ.get("DOIT_TFLM_FUZZ_ROUNDS", "200"))
SHARDS = int(os.environ.get("DOIT_TFLM_FUZZ_SHARDS", "4"))
SEED = os.environ.get("DOIT_TFLM_FUZZ_SEED", "0")
SHRINK = bool(os.environ.get("DOIT_TFLM_FUZZ_SHRINK"))

Round = tuple[list[tuple[Any, ...]], tuple[str, ...]]
"""Operations, and the options of the build that follows."""


def operation(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), *arguments)


def edits(
    choices: dict[str, tuple[Any, ...]], owner: st.SearchStrategy[str]
) -> st.SearchStrategy[tuple[Any, ...]]:
    setting = st.sampled_from(sorted(choices))
    return operation("edit", owner, setting, st.integers(0, 3), WRITING)


WRITING = st.sampled_from(["in place", "renamed", "same date"])
NUMBER = st.integers(0, 9999)
MODEL = st.sampled_from(MODELS)
DELAY_MS = st.integers(0, 900)
OPTIONS = st.sampled_from([(), ("-a",), ("-n", "4"), ("-n", "4", "-P", "process"), ("-n", "2", "-P", "thread")])
EDIT = st.one_of(edits(SETTINGS, MODEL), edits(SETTINGS, MODEL), edits(SHARED, st.just("")))
DAMAGE = st.one_of(
    operation(
        "damage",
        NUMBER,
        st.sampled_from(
            ["edit", "same date", "append", "truncate", "empty", "exchange", "delete", "directory"],
        ),
    ),
    operation("member", MODEL, st.sampled_from(["delete", "empty", "edit"])),
)
STAGE = st.sampled_from(["quantize", "spec", "sample", "calibrate", "convert", "embed", "archive", "header"])
TARGET = st.builds("{}:{}".format, STAGE, MODEL)
SIGNAL = st.sampled_from(["SIGKILL", "SIGKILL group", "SIGTERM", "SIGTERM group", "SIGINT group"])

OPERATION = st.one_of(
    EDIT,
    EDIT,
    EDIT,
    operation("revert", NUMBER, WRITING),
    operation("rewrite", MODEL, st.integers(0, 7)),
    operation("touch", NUMBER, st.sampled_from(["now", "old", "second", "future"])),
    DAMAGE,
    DAMAGE,
    operation("remove", st.sampled_from(["build", "build/alpha", "firmware"])),
    operation("journal", st.sampled_from(["tear", "damage", "garbage", "earlier", "delete"]), NUMBER),
    operation("restore", NUMBER),
    st.one_of(operation("forget", st.just("-a")), operation("forget", TARGET)),
    st.one_of(operation("clean", st.just("-a")), operation("clean", TARGET)),
    operation("partial", TARGET),
    st.sampled_from([("ask", "why"), ("ask", "list", "--all", "--status"), ("ask", "info", "header:alpha")]),
    st.builds(lambda op, more: (*op, *more), operation("kill", SIGNAL, DELAY_MS), OPTIONS),
    st.builds(lambda op, more: (*op, *more), operation("kill", SIGNAL, DELAY_MS), OPTIONS),
    st.builds(lambda op, more: (*op, *more), operation("twice", st.integers(0, 400)), OPTIONS),
    operation(
        "during",
        st.one_of(EDIT, EDIT, DAMAGE),
        DELAY_MS,
        st.sampled_from(["", *HOLDS]),
        st.sampled_from(["", "after", "during"]),
    ),
)
ROUND: st.SearchStrategy[Round] = st.tuples(st.lists(OPERATION, min_size=1, max_size=5), OPTIONS)

KNOWN: dict[str, list[Round]] = {
    "doit -a leaves records that can be read": [([], ("-a",)), ([("edit", "alpha", "description", 1)], ())],
    "a build waits for one that changes what it has loaded": [
        ([], ()),
        ([("edit", "", "header_dir", 1), ("edit", "", "more", 1), ("twice", 150)], ()),
    ],
    "clean meets a directory": [([("partial", "header:alpha"), ("damage", 0, "directory"), ("clean", "-a")], ())],
    "forked processes of a killed build let go of the lock": [
        ([("kill", "SIGKILL", 350, "-n", "4", "-P", "process")], ()),
        ([("forget", "-a"), ("kill", "SIGTERM", 500, "-n", "4", "-P", "process")], ()),
    ],
    "data edited between spec and sample, and reverted": [
        ([], ()),
        ([("edit", "", "points", 1), ("during", ("edit", "", "extra", 1), 550, "slow-load", "after")], ()),
    ],
}
"""Sequences that once went wrong."""


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_after_anything_at_all_a_build_equals_a_clean_build(tmp_path: Path, shard: int) -> None:
    oracle = Oracle(tmp_path, Sources())
    played, examples = 0, 0
    wrong: list[str] = []

    @seed(random.randrange(2**32) if SEED == "random" else int(SEED) * 10_000 + shard)
    @settings(
        max_examples=max(1, ROUNDS // SHARDS),
        phases=[Phase.generate, Phase.shrink] if SHRINK else [Phase.generate],
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(rounds=st.lists(ROUND, min_size=4, max_size=12))
    def play(rounds: list[Round]) -> None:
        nonlocal played, examples
        if not wrong and played >= ROUNDS / SHARDS:
            return  # hypothesis counts sequences; the limit is one of rounds
        if wrong and not SHRINK:
            return  # kills make it a matter of chance whether a failure comes again
        examples += 1
        machine = Machine(tmp_path / f"project{examples}", oracle)
        try:
            for operations, options in rounds:
                machine.play(operations, options)
                played += 1
        except WrongBuildError as error:
            wrong[:] = [f"{error}\n\nto be added to KNOWN:\n{rounds[: len(machine.states)]!r}"]
            if SHRINK:
                raise
        machine.dispose()

    play()
    if wrong:
        pytest.fail(wrong[0], pytrace=False)


@pytest.mark.parametrize("rounds", KNOWN.values(), ids=KNOWN)
def test_what_once_went_wrong(tmp_path: Path, rounds: list[Round]) -> None:
    machine = Machine(tmp_path / "project", Oracle(tmp_path, Sources()))
    for operations, options in rounds:
        machine.play(operations, options)


KERAS = """\
import sys
import keras

for number, path in enumerate(sys.argv[1:]):
    keras.utils.set_random_seed(number)
    layers = [keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)]
    keras.Sequential(layers).save(path)
"""


@pytest.fixture
def trained(tmp_path: Path) -> Callable[[int], list[bytes]]:
    """Return a function that makes small Keras models, as the bytes of ``.keras`` files."""

    def make(count: int) -> list[bytes]:
        paths = [tmp_path / f"{number}.keras" for number in range(count)]
        subprocess.run([sys.executable, "-c", KERAS, *map(str, paths)], check=True, capture_output=True)
        return [path.read_bytes() for path in paths]

    return make


@pytest.mark.slow
def test_with_tensorflow_too_a_build_equals_a_clean_build(
    tmp_path: Path, trained: Callable[[int], list[bytes]]
) -> None:
    pytest.importorskip("tensorflow")
    weights = dict(zip((b"w0", b"w1", b"f0", b"f1"), trained(4), strict=True))
    machine = Machine(tmp_path / "project", Oracle(tmp_path, Sources("", weights)), MODELS[:1])
    model = MODELS[0]
    machine.play([("edit", "", "suffix", 1)])
    machine.play([("edit", model, "io", 2), ("edit", model, "keras", 1), ("kill", "SIGKILL group", 3000)])
    machine.play([("edit", model, "ops", 1), ("damage", 0, "truncate"), ("member", model, "edit")], ("-n", "2"))
    machine.play([("edit", model, "max", 1), ("during", ("edit", model, "scale", 1), 2500, "slow-load", "after")])
    machine.play([("revert", 3), ("journal", "delete")])
