"""Objects of NumPy, TensorFlow and Keras that can be told apart: arrays, dtypes, what has a configuration."""

from __future__ import annotations

from typing import Any

from doit_tflm.files import digest_bytes

__all__ = ["library_object"]

_FAMILIES = ("numpy", "tensorflow", "keras", "tf_keras")


def library_object(value: Any) -> tuple[str, Any] | None:
    """Return what an object is.

    Returns
    -------
    tuple of str and object, or None
        A text that is the same for equal objects, and what is to be looked at besides (None for nothing). None if
        the object is of another package, or cannot be told from one that differs.
    """
    kind = type(value)
    if kind.__module__.partition(".")[0] not in _FAMILIES:
        return None
    if hasattr(value, "numpy") or hasattr(value, "__array__"):
        import numpy as np

        array = np.asarray(value.numpy() if hasattr(value, "numpy") else value)
        objects = array.dtype.hasobject
        content = "objects" if objects else digest_bytes(array.tobytes())
        return f"array {array.dtype} {array.shape} {content}", array.tolist() if objects else None
    if "dtype" in kind.__module__ or (kind.__qualname__ == "ufunc" and "(vectorized)" not in str(value)):
        return f"{kind.__qualname__} {value}", None
    if hasattr(value, "get_config") and not hasattr(value, "count_params"):
        # Keras numbers the names that it makes up through the whole process.
        return kind.__qualname__, {key: item for key, item in value.get_config().items() if key != "name"}
    if any(base.__name__ == "Callback" for base in kind.__mro__):
        return f"{kind.__qualname__} callback", vars(value)
    return None
