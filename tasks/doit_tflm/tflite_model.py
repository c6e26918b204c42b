"""A ``.tflite`` file as an object: to look into a model, change its metadata, and run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from doit_tflm import layers, litert, parameters, tflite, tflm
from doit_tflm.errors import UserError
from doit_tflm.files import write_out
from doit_tflm.quantization import sample_shape, to_real, to_tensor
from doit_tflm.samples import in_order, named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["TfliteModel"]


class TfliteModel:
    """A model in TensorFlow Lite's format, whoever made it.

    Parameters
    ----------
    data : bytes
        The file's content.
    path : str or Path, optional
        Where it is, for `save` and for messages.

    Raises
    ------
    UserError
        If it is no TensorFlow Lite model, or a damaged one.
    """

    def __init__(self, data: bytes, path: str | Path | None = None) -> None:
        self.path = Path(path) if path is not None else None
        self._take(data)

    @classmethod
    def load(cls, path: str | Path) -> TfliteModel:
        """Read a file.

        Raises
        ------
        UserError
            If there is none, or it is no model.
        """
        if not Path(path).is_file():
            raise UserError("there is no such file", str(path))
        return cls(Path(path).read_bytes(), path)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the file, all or nothing; one that is the same already is left alone.

        Parameters
        ----------
        path : str or Path, optional
            Where to; where it came from when left out.

        Raises
        ------
        UserError
            If neither is known, or it cannot be written.
        """
        target = Path(path) if path is not None else self.path
        if target is None:
            raise UserError("this model came from no file", fix="give save a path")
        write_out(target, self._data)
        self.path = target
        return target

    def _take(self, data: bytes) -> None:
        self._file = tflite.read(data, str(self.path or ""))
        self._data = data

    def __repr__(self) -> str:
        """Name the model, and its size."""
        return f"<TfliteModel {self.name or 'without a name'}, {len(self._data)} bytes>"

    @property
    def data(self) -> bytes:
        """The file's content."""
        return self._data

    @property
    def name(self) -> str:
        """The name in its parameters, else the file's; empty if there is neither."""
        given = self.parameters.get("name")
        return str(given) if given else self.path.stem if self.path else ""

    @property
    def description(self) -> str:
        """The model's description; it can be set."""
        return self._file.description

    @description.setter
    def description(self, text: str) -> None:
        if self.has_parameters:
            # They hold a hash of the whole file.
            self._take(parameters.embed(self._data, self.typed_parameters, text))
        else:
            self._take(tflite.with_metadata(self._data, {}, text))

    @property
    def tensors(self) -> tuple[tflite.Tensor, ...]:
        """The tensors of the first subgraph."""
        return self._file.tensors

    @property
    def operators(self) -> tuple[tflite.Operator, ...]:
        """The operators of the first subgraph, in the order in which they run."""
        return self._file.operators

    @property
    def inputs(self) -> tuple[tflite.Tensor, ...]:
        """The input tensors."""
        return tuple(self._file.tensors[index] for index in self._file.inputs)

    @property
    def outputs(self) -> tuple[tflite.Tensor, ...]:
        """The output tensors."""
        return tuple(self._file.tensors[index] for index in self._file.outputs)

    @property
    def metadata(self) -> Mapping[str, bytes]:
        """The metadata entries by name; `set_metadata` changes them."""
        return MappingProxyType(dict(self._file.metadata))

    def set_metadata(self, name: str, content: bytes) -> None:
        """Add a metadata entry, or replace the one of that name."""
        changed = TfliteModel(tflite.with_metadata(self._data, {name: content}))
        if changed.has_parameters and name != parameters.METADATA_NAME:
            # They hold a hash of the whole file.
            changed.update_parameters({})
        self._take(changed.data)

    @property
    def has_parameters(self) -> bool:
        """Whether there are model parameters in its metadata."""
        return parameters.METADATA_NAME in self._file.metadata

    @property
    def typed_parameters(self) -> dict[str, parameters.Typed]:
        """The model parameters with their wire types; empty if it has none."""
        entry = self._file.metadata.get(parameters.METADATA_NAME)
        return parameters.decode_typed(entry) if entry is not None else {}

    @property
    def parameters(self) -> dict[str, Any]:
        """The plain values of the model parameters; empty if it has none."""
        return {key: typed.value for key, typed in self.typed_parameters.items()}

    def update_parameters(self, changes: Mapping[str, Any], description: str | None = None) -> None:
        """Add model parameters, or replace those of the same names; the weights and layers keep their bytes.

        Parameters
        ----------
        changes : mapping of str to Any
            Plain values, or `Typed` ones. A plain number keeps the wire type of the parameter that it replaces,
            if that can hold it.
        description : str, optional
            A new description.

        Raises
        ------
        UserError
            If a value has no wire type, or is out of its range.
        """
        former = self.typed_parameters
        given = {key: _as_before(value, former.get(key)) for key, value in changes.items()}
        text = self.description if description is None else description
        self._take(parameters.embed(self._data, {**former, **given}, text))

    def summary(self) -> str:
        """Return what the model holds and needs, as text; the arena is not measured."""
        from doit_tflm.summary import render, summarize

        return render(summarize(self._data, self.name))

    def predict(
        self, x: ArrayLike | Mapping[str, Any] | Sequence[Any], *, runtime: Literal["litert", "tflm"] = "litert"
    ) -> NDArray[np.generic] | list[NDArray[np.generic]]:
        """Run the model on samples, each as if it were the first.

        Parameters
        ----------
        x : array_like, mapping or sequence
            Shape (samples, *input shape). Several inputs: a dict by name, or a tuple or list of arrays. Floats are
            quantized as the model's inputs want it; arrays of the input's own integer type are taken as they are.
        runtime : {"litert", "tflm"}
            LiteRT's reference kernels, or TensorFlow Lite Micro's.

        Returns
        -------
        ndarray, or a list of them for several outputs
            Shape (samples, *output shape): float32 for real numbers; for integers the output tensor's dtype.

        Raises
        ------
        UserError
            If samples do not fit the inputs, or the runtime does not run the model.
        """
        given, is_raw = self._given(x)
        found = [
            values.reshape(len(values), *sample_shape(tensor)) if is_raw else to_real(values, tensor)
            for values, tensor in zip(self._run(given, runtime), self.outputs, strict=True)
        ]
        return found[0] if len(found) == 1 else found

    def _given(self, x: Any) -> tuple[list[NDArray[np.generic]], bool]:
        """Return the arrays for the inputs, and whether they came as the tensors' own integers."""
        pairs = list(zip(self._ordered(x), self.inputs, strict=True))
        for array, tensor in pairs:
            _check_samples(array, tensor)
        if len({len(array) for array, _ in pairs}) > 1:
            raise UserError("the inputs differ in their number of samples", fix="give each input as many")
        is_raw = all(array.dtype == tensor.dtype and array.dtype.kind in "iu" for array, tensor in pairs)
        if is_raw:
            return [array.reshape(len(array), *tensor.shape) for array, tensor in pairs], True
        return [to_tensor(array, tensor) for array, tensor in pairs], False

    def _ordered(self, x: Any) -> list[NDArray[np.generic]]:
        """Return the arrays in the order of the inputs."""
        import numpy as np

        several = len(self.inputs) > 1
        try:
            arrays = named(x if several or isinstance(x, Mapping) else np.asarray(x))
        except ValueError as error:
            raise UserError(f"the samples are no array ({error})", fix="give each the same shape") from None
        names = [layers.input_name(tensor.name) for tensor in self.inputs]
        if len(arrays) != len(names):
            raise UserError(
                f"{len(arrays)} inputs are given, but the model has {len(names)}",
                fix="give a dict by name, or a list in the order of `inputs`",
            )
        if several and isinstance(x, Mapping) and set(arrays) != set(names):
            raise UserError(
                f"the inputs are called {', '.join(arrays)}, but the model's {', '.join(names)}",
                fix="use the model's names, or give a list in the order of `inputs`",
            )
        return in_order(arrays, names)

    def _run(self, given: list[NDArray[np.generic]], runtime: str) -> list[NDArray[np.generic]]:
        if runtime == "litert":
            try:
                return litert.run(self._data, given)
            except (RuntimeError, ValueError) as error:
                said = str(error).strip().partition("\n")[0]
                raise UserError(f"LiteRT does not run the model: {said}", str(self.path or "")) from error
        if runtime != "tflm":
            raise UserError(f"runtime is {runtime!r}", fix='use "litert" or "tflm"')
        if not tflm.available():
            raise UserError("tflite-micro is not installed (some platforms have no wheel)", fix='use "litert"')
        tflm.check_static(self._file)
        with closing(tflm.Interpreter(self._data, self._file)) as interpreter:
            return interpreter.run(given)


def _check_samples(array: NDArray[np.generic], tensor: tflite.Tensor) -> None:
    """Raise an error where an array holds no samples of an input."""
    import numpy as np

    if array.dtype.kind not in "biuf":
        raise UserError(f"the samples of {tensor.name} are {array.dtype}", fix="give numbers")
    if array.ndim < 1 or not len(array):
        raise UserError(f"there are no samples of {tensor.name}", fix="give shape (samples, *input shape)")
    if array[0].size != tensor.elements:
        raise UserError(f"a sample has shape {array.shape[1:]}, but {tensor.name} takes {sample_shape(tensor)}")
    if not np.isfinite(array).all() and tensor.dtype.startswith(("int", "uint")):
        raise UserError(
            f"the samples of {tensor.name} are not all finite", fix="an integer cannot hold NaN or infinity"
        )


def _as_before(value: Any, former: parameters.Typed | None) -> Any:
    """Return a plain number with the wire type that it had, if that holds it."""
    if former is None or isinstance(value, (parameters.Typed, bool, str, bytes)):
        return value
    typed = parameters.Typed(former.type, value)
    try:
        parameters.encode({"value": typed})
    except UserError:
        return value
    return typed
