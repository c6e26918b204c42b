"""What a model's outputs on the evaluation data are worth: arrays in, a result out; NumPy and nothing else.

Arrays have the samples along their first dimension. The results are those of `doit_tflm.metrics.class_results` and
`doit_tflm.metrics.results`, and can be had from here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from doit_tflm.errors import UserError
from doit_tflm.metrics.arrays import class_numbers, doubles, label_numbers, rows, same_samples, same_shape
from doit_tflm.metrics.class_results import Classification, ClassResult
from doit_tflm.metrics.curves import Steps, edges, histogram, rates_at, steps
from doit_tflm.metrics.results import Agreement, Detection, Fit, Gate, Reconstruction, Regression, ScoreGroup

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

__all__ = [
    "Agreement",
    "ClassResult",
    "Classification",
    "Detection",
    "Fit",
    "Gate",
    "Reconstruction",
    "Regression",
    "ScoreGroup",
    "agreement",
    "classify",
    "reconstruct",
    "regress",
]

_THRESHOLDS = 101  # as MLTK has them
_FEW_OUTPUTS = 8
_MOST_POINTS = 2000
_BLOCK_ELEMENTS = 2**20  # converted to doubles at a time
_OVERSHOOT = 0.01
"""How far quantization, or a rounding, may carry a probability out of 0 to 1."""


def classify(
    labels: ArrayLike, outputs: ArrayLike, classes: Sequence[str], *, name: str = "", cut: float | None = None
) -> Classification:
    """Return how well a classifier does.

    Parameters
    ----------
    labels : array_like
        The true classes: indices of shape (samples,) or (samples, 1), or rows whose highest value marks the class
        (one-hot) of shape (samples, classes).
    outputs : array_like
        Shape (samples, classes): probabilities, logits, or integers of one quantization; the highest names the
        class, the first one where several are equal. Or shape (samples,) or (samples, 1): of two classes, how
        much it is class 1.
    classes : sequence of str
        The labels; the indices where it is empty.
    name : str, optional
        The model's name.
    cut : float, optional
        For a single output: where class 1 begins. Left out, it is 0.5, and 0 where outputs lie outside of 0 to 1,
        so that they are logits.

    Raises
    ------
    UserError
        If the arrays do not fit each other or the classes, or hold what is no number.
    """
    columns = doubles(outputs, "outputs")
    single = columns.shape[1] == 1
    width = 2 if single else columns.shape[1]
    true = class_numbers(labels, width)
    same_samples(true, columns, "labels")
    names = _class_names(classes, width, single=single)
    in_unit = bool(columns.min() >= -_OVERSHOOT and columns.max() <= 1 + _OVERSHOOT)
    # Not 1 - x: that would make all small x equal. The 1 is added to thresholds.
    scores = np.hstack([-columns, columns]) if single else columns
    added = (1.0, 0.0) if single and in_unit else (0.0,) * width
    begin = _cut(np.asarray(outputs).dtype, cut, in_unit=in_unit) if single else None
    predicted = columns.argmax(axis=1) if begin is None else (columns[:, 0] >= begin).astype(np.int64)
    matrix = np.bincount(true * width + predicted, minlength=width * width).reshape(width, width)
    low, high = (0.0, 1.0) if in_unit else (float(scores.min()), float(scores.max()))
    thresholds = np.linspace(low, high, _THRESHOLDS)
    per_class = [
        _one_class(names[number], number, matrix, true == number, scores[:, number], thresholds, added[number])
        for number in range(width)
    ]
    areas = [entry.roc_auc for entry in per_class if entry.roc_auc is not None]
    return Classification(
        name=name,
        samples=len(true),
        accuracy=int(np.trace(matrix)) / len(true),
        confusion_matrix=tuple(map(tuple, matrix.tolist())),
        per_class=tuple(per_class),
        roc_auc_avg=sum(areas) / len(areas) if areas else None,
        thresholds=tuple(thresholds.tolist()),
        cut=begin,
        are_probabilities=in_unit and (single or _sum_to_one(columns)),
    )


def regress(targets: ArrayLike, outputs: ArrayLike, *, name: str = "") -> Regression:
    """Return how near a model of numbers comes to its targets.

    Parameters
    ----------
    targets, outputs : array_like
        Shape (samples, ...), with equally many elements per sample.
    name : str, optional
        The model's name.

    Raises
    ------
    UserError
        If the arrays do not fit each other, or hold what is no number.
    """
    wanted, given = doubles(targets, "targets"), doubles(outputs, "outputs")
    same_shape(wanted, given, "targets")
    width = wanted.shape[1]
    r2 = [_r2(x, y) for x, y in zip(wanted.T, given.T, strict=True)]
    defined = [value for value in r2 if value is not None]
    mean_r2 = sum(defined) / len(defined) if defined else None
    if width > _FEW_OUTPUTS:
        fits = [_fit(f"all {width} outputs", wanted.ravel(), given.ravel(), mean_r2, _MOST_POINTS)]
    else:
        labels = ["output"] if width == 1 else [f"output {number}" for number in range(width)]
        fits = [
            _fit(label, wanted[:, number], given[:, number], r2[number], _MOST_POINTS // width)
            for number, label in enumerate(labels)
        ]
    error = given - wanted
    return Regression(
        name=name,
        samples=len(wanted),
        outputs=width,
        mse=float(np.square(error).mean()),
        mae=float(np.abs(error).mean()),
        max_error=float(np.abs(error).max()),
        r2=mean_r2,
        fits=tuple(fits),
    )


def reconstruct(
    inputs: ArrayLike, outputs: ArrayLike, labels: ArrayLike | None = None, *, name: str = ""
) -> Reconstruction:
    """Return how well an autoencoder gives back its input, and tells abnormal samples by how badly it does.

    Parameters
    ----------
    inputs, outputs : array_like
        Shape (samples, ...), with equally many elements per sample.
    labels : array_like, optional
        0 for a normal sample, anything else for an abnormal one: shape (samples,), (samples, 1), or one-hot.
    name : str, optional
        The model's name.

    Raises
    ------
    UserError
        If the arrays do not fit each other, or hold what is no number.
    """
    before, after = rows(inputs, "inputs"), rows(outputs, "outputs")
    same_shape(before, after, "inputs")
    squared, absolute = _sample_errors(before, after)
    kinds = {"all": np.ones(len(squared), bool)}
    found = None
    if labels is not None:
        abnormal = label_numbers(labels) != 0
        same_samples(abnormal, after, "labels")
        kinds = {"normal": ~abnormal, "abnormal": abnormal}
        found = steps(abnormal, squared)
    logarithmic = bool(0 < 100 * squared.min() < squared.max())
    bounds = edges(squared, logarithmic=logarithmic)
    groups = [
        ScoreGroup(
            label=label,
            samples=int(chosen.sum()),
            mse=float(squared[chosen].mean()),
            scores=histogram(squared[chosen], bounds, logarithmic=logarithmic),
        )
        for label, chosen in kinds.items()
        if chosen.any()
    ]
    return Reconstruction(
        name=name,
        samples=len(squared),
        mse=float(squared.mean()),
        mae=float(absolute.mean()),
        groups=tuple(groups),
        detection=_detection(found) if found else None,
    )


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Return how far the outputs of one model from two runtimes are apart.

    Parameters
    ----------
    first, second : array_like
        Shape (samples, ...), both integers or both floats.

    Raises
    ------
    UserError
        If they differ in shape or kind, or hold what is no number.
    """
    names = ("outputs of the first runtime", "outputs of the second runtime")
    one, other = rows(first, names[0]), rows(second, names[1])
    same_shape(one, other, *names)
    whole = one.dtype.kind != "f"
    if whole != (other.dtype.kind != "f"):
        raise UserError(
            f"the outputs are {one.dtype} from one runtime and {other.dtype} from the other",
            fix="compare both quantized, or both dequantized",
        )
    one, other = (array.astype(np.int64 if whole else np.float64) for array in (one, other))
    apart = np.abs(one - other)
    greatest = float(apart.max())
    span = 1.0 if whole or not greatest else float(max(np.abs(one).max(), np.abs(other).max()))
    return Agreement(
        samples=len(one),
        equal=float((apart == 0).mean()),
        greatest=greatest / span,
        unit="steps" if whole else "relative",
        argmax_differs=int((one.argmax(axis=1) != other.argmax(axis=1)).sum()),
        worst_sample=int(apart.max(axis=1).argmax()) if greatest else None,
    )


def _class_names(classes: Sequence[str], width: int, *, single: bool) -> tuple[str, ...]:
    """Return the labels of the classes, their indices where there are no labels."""
    if not classes:
        return tuple(map(str, range(width)))
    if len(classes) != width:
        outputs = "a single output tells 2 classes apart" if single else f"the model has {width} outputs"
        raise UserError(f"classes names {len(classes)}, but {outputs}", fix=f"give classes {width} labels")
    return tuple(classes)


def _cut(dtype: np.dtype[Any], cut: float | None, *, in_unit: bool) -> float:
    """Return where class 1 begins in a single output."""
    if cut is not None:
        return cut
    if dtype.kind in "iu" and not in_unit:
        raise UserError(
            f"the single output is {dtype}: where class 1 begins is not known", fix="give dequantized outputs"
        )
    return 0.5 if in_unit else 0.0


def _sum_to_one(columns: Floats) -> bool:
    """Return whether rows sum to 1, but for what quantization to 8 bits rounds off each element."""
    return bool((np.abs(columns.sum(axis=1) - 1) <= _OVERSHOOT + columns.shape[1] / 256).all())


def _one_class(
    label: str,
    number: int,
    matrix: Integers,
    positive: NDArray[np.bool_],
    scores: Floats,
    thresholds: Floats,
    added: float,
) -> ClassResult:
    """Return how well one class is told from the others; `added` to a score is what thresholds speak of."""
    found = steps(positive, scores)
    return ClassResult(
        label=label,
        samples=int(matrix[number].sum()),
        predicted=int(matrix[:, number].sum()),
        correct=int(matrix[number, number]),
        roc_auc=found.roc_auc if found else None,
        curve=found.curve(added) if found else None,
        fpr=rates_at(thresholds - added, scores[~positive]),
        tpr=rates_at(thresholds - added, scores[positive]),
    )


def _r2(wanted: Floats, given: Floats) -> float | None:
    """Return the coefficient of determination of one output."""
    spread = float(np.square(wanted - wanted.mean()).sum())
    # The mean of equal numbers may miss them by a rounding.
    if wanted.min() == wanted.max() or not spread:
        return None
    return 1 - float(np.square(given - wanted).sum()) / spread


def _fit(label: str, wanted: Floats, given: Floats, r2: float | None, most_points: int) -> Fit:
    """Return how near one output comes to its target."""
    error = given - wanted
    magnitude = np.abs(error)
    drawn = np.linspace(0, len(error) - 1, min(len(error), most_points - 1)).round().astype(np.int64)
    chosen = np.unique(np.append(drawn, magnitude.argmax()))
    return Fit(
        label=label,
        mse=float(np.square(error).mean()),
        mae=float(magnitude.mean()),
        max_error=float(magnitude.max()),
        r2=r2,
        points=tuple(zip(wanted[chosen].tolist(), given[chosen].tolist(), strict=True)),
        errors=histogram(error, edges(error)),
    )


def _detection(found: Steps) -> Detection:
    """Return how well scores part abnormal samples from normal ones."""
    return Detection(
        roc_auc=found.roc_auc, pr_accuracy=found.pr_accuracy, best=found.best_cut(), curve=found.curve()
    )


def _sample_errors(before: NDArray[Any], after: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return the mean squared and the mean absolute error of each sample; few are doubles at a time."""
    squared, absolute = np.empty(len(before)), np.empty(len(before))
    count = max(1, _BLOCK_ELEMENTS // before.shape[1])
    for start in range(0, len(before), count):
        part = slice(start, start + count)
        error = after[part].astype(np.float64) - before[part]
        squared[part], absolute[part] = np.square(error).mean(axis=1), np.abs(error).mean(axis=1)
    return squared, absolute
