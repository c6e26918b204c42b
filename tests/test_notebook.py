"""The notebook of the guides runs as it is, in a copy of this repository's project."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs/quantize_model.ipynb"


def executed(notebook: Path) -> list[Any]:
    """Run a notebook in its directory, as Jupyter does, and return its cells with their outputs."""
    import nbformat
    from nbclient import NotebookClient

    # Version 4 of the format.
    content = nbformat.read(notebook, as_version=4)
    client = NotebookClient(content, timeout=300, resources={"metadata": {"path": str(notebook.parent)}})
    return list(client.execute().cells)


def test_the_notebook_is_committed_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 10
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "dodo.py",
        "pyproject.toml",
        "models/sine.py",
        "models/sine.mltk.zip",
        "docs/quantize_model.ipynb",
    ):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, target)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    cells = executed(tmp_path / "docs/quantize_model.ipynb")
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in outputs)
    assert "sine | 1 | The sine of x, for x from 0 to 2 pi" in text
    assert "sine.tflite True" in text
    assert "The sine of x, for my own board | int8 to float32" in text
    assert "'volume_db': 5.0" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
    said = "".join(output["text"] for output in outputs if output.get("name") == "stderr")
    assert "Statistics for quantized inputs" not in said, "what TensorFlow prints while it converts is in the log"
    assert (tmp_path / "firmware/generated/sine_model_data.c").exists()
    assert [path.name for path in (tmp_path / "scratch").rglob("*.tflite")] == ["sine.tflite"]
