"""Limits of the target, the margin of the arena, golden vectors: what a change of them redoes, and refuses."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SPEC, Project
from doit_tflm import limits, parameters, tflite

SCRIPT = "models/kws.py"


def add(project: Project, line: str) -> None:
    project.write(SCRIPT, f"{SPEC}{line}\n")


def arena_of(project: Project) -> int:
    data = project.path("build/kws/kws.tflite").read_bytes()
    stored = parameters.decode(tflite.read(data).metadata[parameters.METADATA_NAME])
    return int(stored["runtime_memory_size"])


def measured(project: Project) -> int:
    return int(json.loads(project.path("build/kws/measured.json").read_text())["arena_bytes"])


@given(st.integers(1, 1 << 24), st.floats(0, 3))
def test_a_margin_is_added_and_rounded_up_to_16(arena_bytes: int, margin: float) -> None:
    found = limits.with_margin(arena_bytes, margin)
    assert found % 16 == 0
    assert arena_bytes * (1 + margin) - arena_bytes / 1000 <= found <= arena_bytes * (1 + margin + 0.001) + 16
    assert limits.with_margin(arena_bytes, 0) - arena_bytes < 16


def test_the_arena_with_its_margin_is_told_to_firmware_twice(built: Project) -> None:
    expected = limits.with_margin(measured(built), 0.1)
    assert arena_of(built) == expected
    text = built.path("firmware/generated/kws_model_data.h").read_text()
    assert f"#define KWS_MODEL_ARENA_BYTES {expected}u\n" in text
    assert f"#define KWS_MODEL_ARENA_MEASURED_BYTES {measured(built)}u\n" in text


def test_another_margin_does_not_measure_again(built: Project) -> None:
    add(built, "my_model.arena_margin = 0.5")
    run = built.build()
    assert set(run.stages) == {"spec", "embed", "archive", "header"}
    assert run.why("embed") == "arena_margin: 0.1 → 0.5"
    assert arena_of(built) == limits.with_margin(measured(built), 0.5)


def test_a_limit_that_is_kept_only_checks_again(built: Project) -> None:
    add(built, "my_model.max_arena_bytes = 1_000_000\nmy_model.max_flash_bytes = 1_000_000\nmy_model.max_macs = 1")
    assert built.build().stages == ["spec", "embed"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "my_model.max_arena_bytes = 100",
            r"the tensor arena takes [\d,]+ bytes, [\d,]+ more than max_arena_bytes 100;",
        ),
        (
            "my_model.max_flash_bytes = 100",
            r"the \.tflite takes [\d,]+ bytes, [\d,]+ more than max_flash_bytes 100;",
        ),
    ],
    ids=["arena", "flash"],
)
def test_a_limit_that_is_passed_fails_and_touches_no_output(built: Project, line: str, message: str) -> None:
    before = built.outputs()
    add(built, line)
    run = built.doit("quantize")
    assert run.code == 1
    assert re.search(f"kws: embed failed\n  models/kws.py: {message} ", run.out), run.out
    assert "largest" in run.out
    assert "make the model smaller, or raise the limit" in run.out
    after = built.outputs()
    changed = {name for name in after if before.get(name) != after[name]}
    assert changed == {"build/kws/limits.json"}


def test_all_limits_that_are_passed_are_named_at_once(built: Project) -> None:
    add(built, "my_model.max_arena_bytes = 100\nmy_model.max_flash_bytes = 100")
    run = built.doit("quantize")
    assert "max_arena_bytes 100" in run.out
    assert "max_flash_bytes 100" in run.out


def test_golden_vectors_are_as_many_as_asked_for_and_can_be_left_out(built: Project) -> None:
    header = built.path("firmware/generated/kws_golden.h")
    assert "#define KWS_MODEL_GOLDEN_COUNT 3\n" in header.read_text()
    add(built, "my_model.golden_vectors = 5")
    assert built.build().stages == ["spec", "verify", "header"]
    assert "#define KWS_MODEL_GOLDEN_COUNT 5\n" in header.read_text()
    add(built, "my_model.golden_vectors = 0")
    assert built.build().stages == ["spec", "verify", "header"]
    assert not header.exists()
    assert not built.path("firmware/generated/kws_golden.c").exists()


def test_a_model_that_is_not_verified_says_so_and_claims_nothing(built: Project) -> None:
    add(built, "my_model.verify = False\nmy_model.max_arena_bytes = 100")
    run = built.build()
    assert "kws: warning: not verified: the specification sets verify to False\n" in run.out
    assert "kws: warning: max_arena_bytes is not checked: the arena was not measured\n" in run.out
    text = built.path("firmware/generated/kws_model_data.h").read_text()
    assert "ARENA" not in text
    with pytest.raises(KeyError):
        arena_of(built)


def test_where_there_is_no_interpreter_one_line_says_so_and_the_build_goes_on(built: Project) -> None:
    # A platform without a wheel: the package cannot be found.
    hide = (
        "import importlib.util\n\nfound = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'tflite_micro' else found(name, *more)\n"
    )
    built.write("hidden/sitecustomize.py", hide)
    built.add_model("other")
    built.path("build/kws/measured.json").unlink()
    run = built.build(PYTHONPATH=str(built.path("hidden")))
    assert run.out.count("not verified: tflite-micro, which holds TFLM's interpreter, is not installed") == 1
    assert "other:header" in run.ran
    assert importlib.util.find_spec("tflite_micro") is not None
