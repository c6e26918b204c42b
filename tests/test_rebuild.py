"""What a change redoes: the truth table of the design, run through the real doit."""

from __future__ import annotations

from conftest import Project

ALL = ["evaluate", "sample", "calibrate", "quantize", "embed", "archive", "header"]


def test_a_first_build_runs_every_stage_and_a_second_none(project: Project) -> None:
    first = project.build()
    assert sorted(first.stages) == sorted(ALL)
    second = project.build()
    assert second.stages == []
    assert second.out == "1 model is up to date\n"
