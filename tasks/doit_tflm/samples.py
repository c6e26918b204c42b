"""Representative samples: drawn from the user's data, checked, and stored, so that calibration runs no user code.

Stored as a zip of ``.npy`` files (readable by ``numpy.load``): one array of shape (samples, *input shape) for
each input, named by the input's name or, where the data has no names, by its position.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit_tflm.archive import add_member
from doit_tflm.errors import UserError
from doit_tflm.script import Script, seed, user_code
from doit_tflm.worker_main import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Sample = dict[str, NDArray[np.generic]]

__all__ = [
    "Samples",
    "as_floats",
    "draw",
    "from_file",
    "in_order",
    "named",
    "read",
    "read_arrays",
    "serialise",
    "write_arrays",
]

_ENDLESS = 100_000
"""A generator that yields more than this is taken to have no end."""
_SOURCE = "source.txt"


@dataclass(frozen=True)
class Samples:
    """Samples by input.

    Attributes
    ----------
    source : str
        ``"generate"``, ``"function"``, ``"file"`` or ``"none"``.
    arrays : dict of str to ndarray
        Shape (samples, *input shape).
    """

    source: str
    arrays: dict[str, NDArray[np.generic]]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(next(iter(self.arrays.values()))) if self.arrays else 0


def draw(script: Script, source: str, max_samples: int | None) -> tuple[Samples, list[str]]:
    """Draw the representative samples of a specification.

    "generate" takes the first samples of the validation data in the data's own order, or of the training data
    where there is no validation data. A generator function is drained to its end.

    Returns
    -------
    samples, warnings

    Raises
    ------
    UserError
        If the user's code fails, or the samples cannot calibrate a model.
    """
    if source == "none":
        return Samples(source, {}), []
    spec = script.spec
    seed(spec.seed)
    if source == "generate":
        subset, data = _generate_from(script)
        what = f'dataset("{subset}")'
        with user_code(script.path, f"{what} "):
            drawn = list(islice(_counted(_each_sample(data, what), max_samples or 0), max_samples))
    else:
        what = "representative_dataset"
        with user_code(script.path, f"{what} "):
            drawn = list(_counted(_drain(spec.tflite_converter["representative_dataset"]), 0))
    try:
        samples = Samples(source, _stacked(drawn, what))
        _check(samples, what)
    except UserError as error:
        raise error.at(script.path) from None
    return samples, _warnings(script, samples, what)


def from_file(path: str) -> Samples:
    """Return the samples in a ``.npz`` of the user's, all of them, as arrays of floats or integers.

    One array of shape (samples, *input shape) for each input, named by the input; a single one may have any name.
    ``numpy.savez("samples.npz", x)`` writes one; so does a build, as ``build/NAME/samples.npz``.

    Raises
    ------
    UserError
        If it is missing, is no ``.npz``, or its arrays cannot calibrate a model.
    """
    try:
        arrays = {_position(key): as_floats(array) for key, array in read_arrays(path).items()}
    except FileNotFoundError:
        raise UserError("there is no such file of samples", path, "write it with numpy.savez") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise UserError(
            f"is no .npz with arrays of numbers ({error})", path, "write it with numpy.savez"
        ) from None
    if not arrays or any(array.ndim < 1 or not len(array) for array in arrays.values()):
        raise UserError("holds no samples", path, "give each input an array of shape (samples, *input shape)")
    counts = {key: len(array) for key, array in arrays.items()}
    if len(set(counts.values())) > 1:
        raise UserError(f"the inputs differ in their number of samples: {counts}", path, "give each as many")
    samples = Samples("file", arrays)
    try:
        _check(samples, "samples")
    except UserError as error:
        raise error.at(path) from None
    return samples


def _position(name: str) -> str:
    """Return an array's name as `named` would number it, if it is one that `numpy.savez` makes up."""
    return name.removeprefix("arr_") if name.removeprefix("arr_").isdigit() else name


def _generate_from(script: Script) -> tuple[str, Any]:
    """Return the name and the data of the subset to draw from."""
    assert script.spec.dataset is not None
    for subset in ("validation", "training"):
        with user_code(script.path, f'dataset("{subset}") '):
            data = script.spec.dataset(subset)
        if data is not None:
            return subset, data
    raise UserError("dataset returns no validation and no training data", script.path, "return (x, y)")


def _each_sample(data: Any, what: str) -> Iterator[Sample]:
    """Yield the samples of arrays or of a ``tf.data.Dataset``, one by one and without labels."""
    import numpy as np

    if hasattr(data, "as_numpy_iterator"):
        for element in data.as_numpy_iterator():
            yield from _rows(named(_features(element)))
    elif isinstance(data, (np.ndarray, dict, list, tuple)):
        yield from _rows(named(_features(data)))
    else:
        raise UserError(f"{what} returns a {type(data).__name__}", fix="return (x, y), x, or a tf.data.Dataset")


def _features(element: Any) -> Any:
    """Return the x of x, (x, y) and (x, y, weights)."""
    return element[0] if isinstance(element, tuple) else element


def named(value: Any) -> Sample:
    """Return inputs by name; by position where they have no names."""
    import numpy as np

    if isinstance(value, Mapping):
        return {str(key): np.asarray(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return {str(number): np.asarray(item) for number, item in enumerate(value)}
    return {"0": np.asarray(value)}


def as_floats(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return doubles as floats, which Keras makes of them as well; anything else as it is."""
    return array.astype("float32") if array.dtype == "float64" else array


def _rows(batch: Sample) -> Iterator[Sample]:
    """Yield the samples of a batch."""
    import numpy as np

    if any(array.ndim == 0 for array in batch.values()):
        raise UserError("an input has no batch dimension", fix="give arrays of shape (samples, *input shape)")
    if len({len(array) for array in batch.values()}) > 1:
        raise UserError("the inputs differ in their number of samples", fix="give each input as many samples")
    for number in range(len(next(iter(batch.values()), ()))):
        yield {key: as_floats(np.asarray(array[number])) for key, array in batch.items()}


def _drain(generator: Any) -> Iterator[Sample]:
    """Yield what a generator function yields, batches taken apart; dtypes are left as they are."""
    import numpy as np

    for count, element in enumerate(generator()):
        if count >= _ENDLESS:
            raise UserError(
                f"representative_dataset has yielded {count} samples and goes on", fix="let the generator end"
            )
        batch = named(element)
        if len({len(array) for array in batch.values() if array.ndim}) > 1:
            raise UserError(
                f"representative_dataset: the inputs of sample {count} differ in their number of samples",
                fix="give each input a batch of 1",
            )
        for number in range(max((len(a) if a.ndim else 1 for a in batch.values()), default=0)):
            yield {key: np.asarray(array[number]) if array.ndim else array for key, array in batch.items()}


def _counted(samples: Iterable[Sample], total: int) -> Iterator[Sample]:
    """Yield samples, and tell how many there were."""
    for number, sample in enumerate(samples, 1):
        if number % 64 == 0:
            progress("samples", number, total)
        yield sample


def _stacked(drawn: list[Sample], what: str) -> dict[str, NDArray[np.generic]]:
    """Return the samples of each input as one array.

    Raises
    ------
    UserError
        If there are none, or one is not like the first.
    """
    import numpy as np

    if not drawn or not drawn[0]:
        raise UserError(f"{what} gives no samples", fix="give it data: without samples, nothing can be calibrated")
    first = drawn[0]
    for number, sample in enumerate(drawn):
        if sample.keys() != first.keys():
            raise UserError(
                f"{what}: sample {number} has inputs {sorted(sample)}, but sample 0 has {sorted(first)}",
                fix="give every sample the same inputs",
            )
        for key, array in sample.items():
            if array.shape != first[key].shape or array.dtype != first[key].dtype:
                raise UserError(
                    f"{what}: sample {number} of input {key} is {array.dtype} {array.shape}, "
                    f"but sample 0 is {first[key].dtype} {first[key].shape}",
                    fix="give every sample the same shape and dtype",
                )
    return {key: np.stack([sample[key] for sample in drawn]) for key in first}


def _check(samples: Samples, what: str) -> None:
    """Raise an error where samples are no numbers: a NaN passes through TensorFlow unnoticed."""
    import numpy as np

    for key, array in samples.arrays.items():
        if array.dtype.kind not in "fiub":
            raise UserError(f"{what}: input {key} has dtype {array.dtype}", fix="give numbers")
        if array.dtype.kind == "f":
            rows = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            if rows.any():
                bad = int(rows.sum())
                raise UserError(
                    f"{what}: sample {int(rows.argmax())} of input {key} is not finite "
                    f"(NaN or infinity in {bad} of {len(array)} samples)",
                    fix="clean the data: such a sample spoils the calibrated ranges",
                )


def _warnings(script: Script, samples: Samples, what: str) -> list[str]:
    """Return what looks wrong, though it may be meant."""
    found = []
    for key, array in samples.arrays.items():
        if array.min() == array.max():
            found.append(f"{what}: input {key} is {array.min()} in every sample: the ranges will be too narrow")
    reference: dict[str, NDArray[np.generic]] = {}
    if script.spec.dataset is not None:
        # Data that is not there, or not in order, is for training to complain of.
        with suppress(UserError):
            reference = _training_data(script)
    for key, array in samples.arrays.items():
        if key in reference and len(reference[key]):
            ours, theirs = float(abs(array).max()), float(abs(reference[key]).max())
            if ours > 8 * theirs > 0 or theirs > 8 * ours > 0:
                found.append(
                    f"{what}: input {key} reaches {ours:.4g}, but the training data {theirs:.4g}: "
                    "is it normalised in the same way?"
                )
    return found


def _training_data(script: Script) -> dict[str, NDArray[np.generic]]:
    """Return up to 1000 samples of the training data, to compare ranges with."""
    assert script.spec.dataset is not None
    with user_code(script.path, 'dataset("training") '):
        data = script.spec.dataset("training")
        drawn = [] if data is None else list(islice(_each_sample(data, 'dataset("training")'), 1000))
    return _stacked(drawn, 'dataset("training")') if drawn else {}


def serialise(samples: Samples) -> bytes:
    """Return samples as the bytes of a ``.npz``, the same for equal samples."""
    return write_arrays(samples.arrays, {_SOURCE: samples.source.encode()})


def read(path: str | Path) -> Samples:
    """Read samples that `serialise` wrote."""
    with zipfile.ZipFile(path) as archive:
        return Samples(archive.read(_SOURCE).decode(), read_arrays(archive.fp))


def write_arrays(arrays: Mapping[str, NDArray[np.generic]], others: Mapping[str, bytes] | None = None) -> bytes:
    """Return arrays as the bytes of a ``.npz``, the same for equal arrays; other members come before them."""
    import numpy as np

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, member in (others or {}).items():
            add_member(archive, name, member)
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            add_member(archive, f"{key}.npy", content.getvalue())
    return stream.getvalue()


def read_arrays(source: Any) -> dict[str, NDArray[np.generic]]:
    """Return the arrays that `write_arrays` wrote, from a path or an open file."""
    import numpy as np

    with zipfile.ZipFile(source) as archive:
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
            if name.endswith(".npy")
        }


def in_order(arrays: Mapping[str, NDArray[np.generic]], names: Sequence[str]) -> list[NDArray[np.generic]]:
    """Return arrays in the order of a model's inputs: by name where they have names, else by position."""
    if len(arrays) == len(names) > 1 and set(arrays) == set(names):
        return [arrays[name] for name in names]
    return list(arrays.values())
