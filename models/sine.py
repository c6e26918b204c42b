"""The sine of x: the "hello world" of TensorFlow Lite Micro.

A network of 321 weights learns sin(x) over one turn from 4000 points. Firmware runs it round and round, and
fades an LED or draws a wave with what comes out.

Only what differs from the defaults is set. Types are written as strings and Keras is imported where it is
needed, so that reading this script takes hardly any time.
"""

import numpy as np

from doit_tflm import ModelSpec

X_MAX = 2 * np.pi

my_model = ModelSpec(version=1, description="The sine of x, for x from 0 to 2 pi")
my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"

# What firmware is told: x goes from 0 to x_max in so many steps, and begins again.
my_model.model_parameters["x_max"] = float(X_MAX)
my_model.model_parameters["inferences_per_cycle"] = 100

my_model.epochs = 60
my_model.batch_size = 32
my_model.optimizer = {"class_name": "adam", "config": {"learning_rate": 0.01}}
my_model.loss = "mse"
my_model.metrics = ["mae"]


def load(subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points x (n, 1) and their sines (n, 1)."""
    seed, n = {"training": (0, 4000), "validation": (1, 1000), "evaluation": (2, 1000)}[subset]
    x = np.random.default_rng(seed).uniform(0, X_MAX, size=(n, 1)).astype(np.float32)
    return x, np.sin(x)


def build(spec: ModelSpec):
    """Return a perceptron with two hidden layers of 16."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((1,), name="x"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(1),
        ],
        name="sine",
    )
    model.compile(optimizer=spec.optimizer, loss=spec.loss, metrics=spec.metrics)
    return model


def callbacks() -> list:
    """Return the callbacks of one training."""
    import keras

    return [
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=3),
        keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
    ]


my_model.dataset = load
my_model.build_model_function = build
my_model.train_callbacks = callbacks
