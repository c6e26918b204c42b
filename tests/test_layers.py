"""The order of the modules: each imports only those above it, and doit's process loads nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import doit_tflm

PACKAGE = Path(doit_tflm.__file__).parent
PROJECT = PACKAGE.parent.parent

ORDER = [
    "_version",
    "errors",
    "files",
    "lock",
    "syntax",
    "trace",
    "schema.flatbuffer",
    "schema.rewrite",
    "schema",
    "settings",
    "callback_options",
    "spec",
    "firmware_settings",
    "archive",
    "config",
    "observe",
    "verdict",
    "schema.options",
    "tflite",
    "parameters",
    "mltk_compat",
    "mltk_compat.absent",
    "mltk_compat.datasets",
    "mltk_compat.features",
    "mltk_compat.utilities",
    "mltk_compat.drawing",
    "mltk_compat.mixins",
    "mltk_compat.model",
    "mltk_compat.finder",
    "script",
    "library",
    "fingerprint",
    "reads",
    "epochs",
    "layer_names",
    "layers",
    "key_values",
    "c_text",
    "header",
    "resolver",
    "facets",
    "worker_main",
    "samples",
    "quantization",
    "golden",
    "macs",
    "memory_plan",
    "elf",
    "sizes",
    "presets",
    "cmake_build",
    "firmware_build",
    "refusals",
    "tflm",
    "tflm_child",
    "litert",
    "firmware_check",
    "limits",
    "keras_io",
    "convert",
    "layer_errors",
    "report",
    "metrics",
    "metrics.arrays",
    "metrics.curves",
    "metrics.results",
    "metrics.class_results",
    "metrics.measure",
    "metrics.drawing",
    "metrics.class_plots",
    "metrics.plots",
    "inventory",
    "summary",
    "tflite_model",
    "train_records",
    "train_state",
    "train_callbacks",
    "train",
    "work",
    "stages",
    "check",
    "evaluation",
    "deliver",
    "once",
    "journal",
    "worker",
    "actions",
    "engine",
    "step_reporter",
    "reporter",
    "plan",
    "tasks",
    "firmware",
    "cmd_why",
    "cmd_tabcompletion",
    "project",
    "export",
    "order",
    "api",
    "api_made",
    "completion",
    "training",
    "cli_firmware",
    "cli_init",
    "cli_model",
    "cli_train",
    "__main__",
    "",  # the package itself: it names the public ones
]
"""Every module of the package; each may import only those above it."""

HEAVY = [
    "tensorflow",
    "keras",
    "tf_keras",
    "numpy",
    "flatbuffers",
    "rich",
    "elftools",
    "jinja2",
    "matplotlib",
    "typer",
]


def modules() -> dict[str, Path]:
    """Return the package's modules by name; what flatc generated imports nothing of ours."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "generated" not in parts:
            found[".".join(parts).removesuffix("__init__").removesuffix(".")] = path
    return found


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, in functions and for types as well."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno} is a relative import"
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def ours(path: Path) -> set[str]:
    """Return the package's modules that a file imports; the package itself has no name of use to them."""
    names = {name.removeprefix("doit_tflm.") for name in imported(path) if name.startswith("doit_tflm.")}
    return names & modules().keys()


def test_every_module_has_a_place_in_the_order() -> None:
    assert sorted(ORDER) == sorted(modules())


@pytest.mark.parametrize("name", ORDER)
def test_a_module_imports_only_those_above_it(name: str) -> None:
    if name in modules():
        place = ORDER.index(name)
        assert ours(modules()[name]) - {name} <= set(ORDER[:place])


def test_the_order_would_notice_an_import_inside_a_function(tmp_path: Path) -> None:
    path = tmp_path / "files.py"
    path.write_text("def f():\n    from doit_tflm import tasks\n    import doit_tflm.engine\n")
    assert ours(path) == {"tasks", "engine"}


def test_the_source_root_is_never_imported_as_a_package() -> None:
    places = ("tasks", "tests", "models")
    files = [*PROJECT.glob("*.py"), *(file for place in places for file in (PROJECT / place).rglob("*.py"))]
    assert len(files) > 20
    wrong = [file.name for file in files if any(n.split(".")[0] == "tasks" for n in imported(file))]
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        "doit_tflm",
        "doit_tflm.tasks",
        "doit_tflm.firmware",
        "doit_tflm.journal",
        "doit_tflm.cmd_why",
        "doit_tflm.cmd_tabcompletion",
    ],
)
def test_what_doit_imports_of_us_loads_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(done.stdout.split())


def test_importing_the_package_loads_no_module_of_it_but_its_version() -> None:
    code = "import sys, doit_tflm; print(*sorted(n for n in sys.modules if n.startswith('doit_tflm')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["doit_tflm", "doit_tflm._version"]


def test_every_public_name_of_the_package_is_there_and_no_other() -> None:
    assert sorted(doit_tflm.__all__) == dir(doit_tflm)
    for name in doit_tflm.__all__:
        assert getattr(doit_tflm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ModelSpecs'"):
        _ = doit_tflm.ModelSpecs
