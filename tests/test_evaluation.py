"""``doit evaluate:NAME``: what it measures, what it says, what it leaves in the archive, and what redoes it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from conftest import SPEC, Project
from doit_tflm import UserError, archive, evaluate_model

pytestmark = pytest.mark.slow  # LiteRT is a part of TensorFlow

SCRIPT = "models/kws.py"
ARCHIVE = "models/kws.mltk.zip"
AUTOENCODER = SPEC.replace(', classes=["no", "yes", "on", "off"]', "").replace("x.sum(axis=1)", "x")
CLASSIFIER = SPEC.replace("x.sum(axis=1)", "np.arange(40) % 4")
REGRESSOR = AUTOENCODER.replace("return x, x", "return x, x + 0.125")


def evaluated(project: Project, code: int = 0) -> str:
    """Run ``doit evaluate`` and return what it says."""
    run = project.doit("evaluate")
    assert run.code == code, run.out + run.err
    return run.out


@pytest.fixture
def of(make_project: Callable[..., Project]) -> Callable[[str], Project]:
    """Return a function that makes a project with a specification."""

    def make(spec: str) -> Project:
        project = make_project()
        project.write(SCRIPT, spec)
        return project

    return make


def test_a_classifier_is_measured_in_three_ways_and_archived_as_mltk_lays_it_out(
    of: Callable[[str], Project],
) -> None:
    project = of(CLASSIFIER)
    archive.update_members(
        project.path(ARCHIVE), {"eval/tflite/old-plot.png": b"of a former model", "x.txt": b"x"}
    )
    said = evaluated(project)
    for runtime in ("float (Keras)", "int8 (LiteRT)", "int8 (TFLM)"):
        assert f"kws: {runtime:<13} accuracy " in said
    names = archive.members(project.path(ARCHIVE))
    for folder in ("eval/h5", "eval/tflite"):
        assert {f"{folder}/eval-results.json", f"{folder}/summary.txt"} <= set(names)
        assert f"{folder}/kws-confusion_matrix.png" in names
    assert "eval/tflite/old-plot.png" not in names
    assert "x.txt" in names
    found = json.loads(archive.read_member(project.path(ARCHIVE), "eval/tflite/eval-results.json") or b"")
    assert found["classes"] == ["no", "yes", "on", "off"]
    assert found["runtime"] == "tflm"
    assert found["overall_accuracy"] == pytest.approx(sum(found["confusion_matrix"][i][i] for i in range(4)) / 40)


def test_an_evaluation_is_not_done_again_and_says_its_results_again(of: Callable[[str], Project]) -> None:
    project = of(CLASSIFIER)
    project.build()
    first = evaluated(project)
    again = project.doit("evaluate")
    assert again.stages == []
    results = [line for line in first.splitlines() if "accuracy" in line]
    assert [line for line in again.out.splitlines() if "accuracy" in line] == results
    assert project.build().out == "1 model is up to date\n", "no results where none were asked for"


def test_only_what_an_evaluation_reads_redoes_it(of: Callable[[str], Project]) -> None:
    project = of(CLASSIFIER)
    evaluated(project)
    project.edit(SCRIPT, "a test model", "another description")
    assert project.doit("evaluate").stages == ["spec", "embed", "archive", "record"]
    project.edit(SCRIPT, "np.arange(40) % 4", "np.arange(40) % 3")
    assert project.doit("evaluate").stages == ["spec", "sample", "evaluate", "record"]
    project.edit(SCRIPT, 'output_type"] = "int8"', 'output_type"] = "float32"')
    assert "evaluate" in project.doit("evaluate").stages
    assert project.doit("evaluate").stages == []


@pytest.mark.parametrize(
    ("spec", "words"),
    [(AUTOENCODER, "MSE "), (REGRESSOR, "MAE "), (AUTOENCODER.replace("return x, x", "return x"), "MSE ")],
    ids=["autoencoder", "regressor", "autoencoder without targets"],
)
def test_the_kind_of_model_is_told_from_its_data(of: Callable[[str], Project], spec: str, words: str) -> None:
    project = of(spec)
    assert f"kws: float (Keras) {words}" in evaluated(project)


def test_labels_of_anomalies_give_an_autoencoder_its_auc(of: Callable[[str], Project]) -> None:
    project = of(AUTOENCODER.replace("return x, x", "return x, np.arange(40) % 2"))
    assert ", AUC " in evaluated(project)
    assert "eval/h5/kws-overall_roc.png" in archive.members(project.path(ARCHIVE))


# max_accuracy_drop.

# The stand-in's "trained model" gives back its input, and so does its quantized one: in steps of a half.
LIMIT = "\nmy_model.max_accuracy_drop = {}\n"


def test_a_drop_within_its_bound_passes_and_is_a_part_of_quantize(of: Callable[[str], Project]) -> None:
    project = of(REGRESSOR + LIMIT.format(0.9))
    first = project.build()
    assert first.stages.index("evaluate") < first.stages.index("embed")
    assert project.build().out == "1 model is up to date\n"


def test_a_drop_beyond_its_bound_fails_the_build_and_touches_no_output(of: Callable[[str], Project]) -> None:
    project = of(REGRESSOR)
    project.build()
    before = {name: text for name, text in project.outputs().items() if not name.startswith("build/")}
    project.write(SCRIPT, REGRESSOR.replace("volume_db", "gain_db") + LIMIT.format(0.01))
    run = project.doit("quantize")
    assert run.code == 1
    assert "kws: embed failed\n  models/kws.py: mae is " in run.out
    assert "worse, which is more than max_accuracy_drop 0.01" in run.out
    assert {name: text for name, text in project.outputs().items() if not name.startswith("build/")} == before
    assert project.doit("evaluate").code == 1


def test_another_bound_checks_again_without_measuring_again(of: Callable[[str], Project]) -> None:
    project = of(REGRESSOR + LIMIT.format(0.9))
    project.build()
    project.edit(SCRIPT, "max_accuracy_drop = 0.9", "max_accuracy_drop = 0.01")
    run = project.doit("quantize")
    assert run.code == 1
    assert run.stages == ["spec"]
    project.edit(SCRIPT, "max_accuracy_drop = 0.01", "max_accuracy_drop = 0.8")
    assert project.build().stages == ["spec", "embed"]


def test_a_bound_that_is_taken_away_asks_for_no_evaluation(of: Callable[[str], Project]) -> None:
    project = of(REGRESSOR + LIMIT.format(0.9))
    project.build()
    project.write(SCRIPT, REGRESSOR)
    assert project.build().stages == ["spec", "embed"]
    project.edit(SCRIPT, "0.125", "0.25")
    assert "evaluate" not in project.build().stages


# What cannot be evaluated.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "return x, ",
            "return None if subset == 'evaluation' else (x, 0); ",
            'dataset("evaluation") returns no data',
        ),
        ("np.arange(40) % 4", "np.arange(30) % 4", 'dataset("evaluation") gives 30 and 40 samples'),
        ("return x, np.arange(40) % 4", "return x", "returns no y to compare a classifier with"),
        ("np.arange(40) % 4", "np.arange(40)", "label"),
        (
            "my_model.dataset = load",
            "my_model.dataset = lambda s: 1 / 0 if s == 'evaluation' else load(s)",
            "ZeroDiv",
        ),
    ],
    ids=["no data", "too few labels", "no labels", "unknown labels", "an error of the user's"],
)
def test_bad_evaluation_data_is_one_message(
    of: Callable[[str], Project], old: str, new: str, message: str
) -> None:
    project = of(CLASSIFIER.replace(old, new))
    assert old in CLASSIFIER
    said = evaluated(project, code=1)
    assert "kws: evaluate failed\n" in said
    assert message in said
    assert "log: build/kws/evaluate.log\n" in said
    assert project.build().stages[-2:] != [], "the model itself is built"


def test_without_a_dataset_there_is_nothing_to_evaluate_with(of: Callable[[str], Project]) -> None:
    generator = (
        "def rows():\n    for n in range(9):\n        yield [np.full((1, 4), n, np.float32)]\n\n\n"
        'my_model.tflite_converter["representative_dataset"] = rows\n'
    )
    project = of(CLASSIFIER.replace("my_model.dataset = load\n", generator))
    assert "has no dataset; set it to a function that returns (x, y)" in evaluated(project, code=1)


def test_a_dataset_of_tensorflow_is_evaluated_whole(of: Callable[[str], Project]) -> None:
    batched = (
        "    import tensorflow as tf\n\n"
        "    return tf.data.Dataset.from_tensor_slices((x, np.arange(40) % 4)).batch(7)\n"
    )
    project = of(CLASSIFIER.replace("    return x, np.arange(40) % 4\n", batched))
    arrays = of(CLASSIFIER)
    evaluated(project)
    first = json.loads(project.path("build/kws/accuracy.json").read_text())
    evaluated(arrays)
    assert first == json.loads(arrays.path("build/kws/accuracy.json").read_text())


def test_evaluate_model_returns_what_the_archive_holds(
    of: Callable[[str], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = of(CLASSIFIER)
    monkeypatch.chdir(project.root)
    found = evaluate_model("kws")
    for kind, folder in (("float", "h5"), ("int8", "tflite")):
        held = archive.read_member(project.path(ARCHIVE), f"eval/{folder}/eval-results.json")
        assert found[kind] == json.loads(held or b"")
    with pytest.raises(UserError, match="name the model, kws"):
        evaluate_model("kws-test")
    with pytest.raises(UserError, match="there is no model 'vww'"):
        evaluate_model("vww")
