"""``doit-tflm quantize`` and ``quantize_model`` with the real Keras and TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import DODO, Project
from doit_tflm import TfliteModel, archive, load_model_spec, quantize_model
from test_train import SPEC

pytestmark = pytest.mark.slow

ARCHIVE = "models/twice.mltk.zip"
BUILT = "build/twice/twice.tflite"


def run(project: Project, *arguments: str) -> str:
    """Run our command line, and expect it to succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "doit_tflm", *arguments],
        cwd=project.root,
        env=project.environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def contents(project: Project) -> dict[str, bytes]:
    path = project.path(ARCHIVE)
    return {name: archive.read_member(path, name) or b"" for name in archive.members(path)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with a trained model; its tests change nothing but copies."""
    project = Project(tmp_path_factory.mktemp("trained") / "project")
    project.write("dodo.py", DODO)
    project.write(
        "models/twice.py", f"{SPEC}my_model.metrics = ['mae']\nmy_model.checkpoint['monitor'] = 'val_loss'\n"
    )
    run(project, "train", "twice", "--epochs", "3")
    return project


def test_the_converter_settings_are_changed_after_training_and_the_archive_has_the_new_model(
    trained: Project, tmp_path: Path
) -> None:
    """The first example of MLTK's guide."""
    project = trained.copy_to(tmp_path / "project")
    before = contents(project)
    project.edit("models/twice.py", '_output_type"] = "int8"', '_output_type"] = "float32"')
    assert "twice: quantize" in run(project, "quantize", "twice")
    after = contents(project)
    assert TfliteModel(after["twice.tflite"]).outputs[0].dtype == "float32"
    assert after.keys() == before.keys()
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"twice.tflite", "twice.tflite.summary.txt", "twice.py"}
    assert run(project, "quantize", "twice").startswith("1 model is up to date\n")


def test_build_needs_no_weights_and_makes_no_archive(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write("models/twice.py", SPEC)
    out = run(project, "quantize", "models/twice.py", "--build")
    assert "twice: quantize   (built, and trained for one epoch on a few samples)" in out
    assert "FULLY_CONNECTED" in out
    assert sorted(path.name for path in project.path("models").iterdir()) == ["twice.py", "twice.tflite"]


def test_build_in_a_project_leaves_archive_and_build_alone(trained: Project, tmp_path: Path) -> None:
    project = trained.copy_to(tmp_path / "project")
    before, outputs = contents(project), project.outputs()
    run(project, "quantize", "twice", "--build", "-o", "looked.tflite")
    assert contents(project) == before
    assert project.outputs() == outputs
    assert len(TfliteModel.load(project.path("looked.tflite")).operators) == 2


def test_the_api_builds_too(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.write("models/twice.py", SPEC)
    made = quantize_model(project.path("models/twice.py"), build=True, output="tflite_model")
    assert isinstance(made, TfliteModel)
    assert len(made.operators) == 2


def test_a_live_model_is_quantized_as_its_saved_weights_are(trained: Project, tmp_path: Path) -> None:
    import keras

    project = trained.copy_to(tmp_path / "project")
    saved = tmp_path / "twice.keras"
    saved.write_bytes(contents(project)["twice.keras"])
    live = keras.models.load_model(saved, compile=False)
    before = project.outputs()
    for model in (project.path("models/twice.py"), load_model_spec(project.path("models/twice.py"))):
        made = quantize_model(model, keras_model=live, output="tflite_model")
        assert isinstance(made, TfliteModel)
        assert made.data == project.path(BUILT).read_bytes()
    live.layers[-1].set_weights([0 * weights for weights in live.layers[-1].get_weights()])
    other = quantize_model(project.path("models/twice.py"), keras_model=live, output=tmp_path / "other.tflite")
    assert isinstance(other, Path)
    assert other.read_bytes() != project.path(BUILT).read_bytes()
    after = project.outputs()
    after.pop("build/twice/once.tflite", None)
    assert after == before


def test_the_best_of_the_weights_that_training_kept_is_found(trained: Project, tmp_path: Path) -> None:
    project = trained.copy_to(tmp_path / "project")
    kept = sorted(name for name in contents(project) if name.startswith("train/weights/"))
    assert kept, "the training keeps weights"
    run(project, "quantize", "twice", "--weights", "best", "-o", "best.tflite")
    run(project, "quantize", "twice", "--weights", Path(kept[0]).name, "-o", "first.tflite")
    # The archive's own weights are those of the best epoch.
    assert project.path("best.tflite").read_bytes() == project.path(BUILT).read_bytes()
    assert (project.path("first.tflite").read_bytes() == project.path("best.tflite").read_bytes()) == (
        len(kept) == 1
    )


def test_an_archive_that_training_made_is_quantized_outside_of_any_project(
    trained: Project, tmp_path: Path
) -> None:
    alone = Project(tmp_path / "alone")
    alone.write("README", "")
    alone.path("twice.mltk.zip").write_bytes(trained.path(ARCHIVE).read_bytes())
    archive.update_members(alone.path("twice.mltk.zip"), {}, remove=["twice.tflite"])
    run(alone, "quantize", "twice.mltk.zip", "--output", ".")
    assert alone.path("twice.tflite").read_bytes() == trained.path(BUILT).read_bytes()
