"""Programs that link several models: one op resolver for all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conftest import Project

HEADER = "firmware/generated/app_op_resolver.h"


@pytest.fixture
def two(make_project: Callable[..., Project]) -> Project:
    """Return a project with two models, of different operators, that one program links."""
    project = make_project(models=("a", "b"))
    project.edit("models/b.py", 'output_type"] = "int8"', 'output_type"] = "float32"')
    add(project, 'app = ["a", "b"]')
    return project


def add(project: Project, programs: str) -> None:
    text = project.path("pyproject.toml").read_text().partition("\n[tool.doit-tflm.programs]")[0]
    project.write("pyproject.toml", f"{text}\n[tool.doit-tflm.programs]\n{programs}\n")


def test_the_resolver_of_a_program_has_the_operators_of_all_its_models(two: Project) -> None:
    run = two.build()
    assert run.ran.count("app:resolver") == 1
    text = two.path(HEADER).read_text()
    assert "AddDequantize" in text
    assert "AddQuantize" in text
    assert "#define APP_MODEL_OP_RESOLVER_SIZE 2u\n" in text
    assert two.build().out == "2 models are up to date\n"


def test_only_what_its_models_need_makes_it_anew(two: Project) -> None:
    two.build()
    before = two.path(HEADER).read_bytes()
    two.edit("models/a.py", "a test model", "another one")
    assert "app:resolver" in two.build().ran
    assert two.path(HEADER).read_bytes() == before
    two.edit("models/b.py", 'output_type"] = "float32"', 'output_type"] = "int8"')
    two.build()
    assert "AddDequantize" not in two.path(HEADER).read_text()
    add(two, 'app = ["a"]')
    assert two.build().ran == ["app:resolver"]
    two.path(HEADER).unlink()
    assert two.build().ran == ["app:resolver"]


@pytest.mark.parametrize(
    ("programs", "message"),
    [
        ('app = ["a", "c"]', "[tool.doit-tflm.programs] app names 'c', but the models are a, b"),
        ('a = ["a", "b"]', "[tool.doit-tflm.programs] a has the name of model a; rename the program"),
        ('app = "a"', "[tool.doit-tflm.programs] app is 'a'; write a list of models"),
    ],
)
def test_a_wrong_program_is_one_message(two: Project, programs: str, message: str) -> None:
    add(two, programs)
    run = two.doit("list")
    assert run.code != 0
    assert message in run.out + run.err
    assert "Traceback" not in run.err
