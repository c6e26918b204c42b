"""LiteRT (TensorFlow Lite), the interpreter of phones and hosts: a second opinion on what a model computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from doit_tflm.worker_main import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["run"]


def run(data: bytes, inputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
    """Run a model on samples, each as if it were the first.

    Parameters
    ----------
    data : bytes
        The ``.tflite`` file.
    inputs : sequence of ndarray
        For each input, shape (samples, *tensor shape), of the tensor's dtype.

    Returns
    -------
    list of ndarray
        For each output, shape (samples, *tensor shape), of the tensor's dtype.
    """
    import numpy as np
    import tensorflow as tf

    # The reference kernels, which TFLM's are made of: the optimised ones differ, and from processor to processor.
    resolver = tf.lite.experimental.OpResolverType.BUILTIN_REF
    interpreter = tf.lite.Interpreter(model_content=data, experimental_op_resolver_type=resolver, num_threads=1)
    interpreter.allocate_tensors()
    taken = [details["index"] for details in interpreter.get_input_details()]
    made = [details["index"] for details in interpreter.get_output_details()]
    rows = []
    for number in range(len(inputs[0])):
        interpreter.reset_all_variables()
        for index, array in zip(taken, inputs, strict=True):
            interpreter.set_tensor(index, array[number])
        interpreter.invoke()
        rows.append([interpreter.get_tensor(index) for index in made])
        if number % 16 == 0:
            progress("running LiteRT", number, len(inputs[0]))
    return [np.stack([row[place] for row in rows]) for place in range(len(made))]
