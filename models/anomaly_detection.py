"""Whether a rotating machine still vibrates as a healthy one does: the autoencoder of MLPerf Tiny, narrower.

The network sees healthy machines only, and learns to squeeze their vibration through a bottleneck of 8 numbers
and to draw it again. What it has never seen, it draws badly: the mean squared error between output and input is
the score of an anomaly, and nobody has had to collect faults beforehand.

The machines are those that vibration_monitoring.py tells apart; imbalance, misalignment and a bad bearing are the
anomalies. The input is its log spectrogram, averaged over the second: the levels of 20 bands, of the acceleration
and of its envelope. How much of a score is an alarm depends on the trained weights, and on what a false alarm
costs: it is for the firmware to choose.
"""

import numpy as np
from _vibration import BANDS, FAULTS, FRAMES, PARAMETERS, features, vibration

from doit_tflm import ModelSpec

LEVELS = BANDS * 2  # of the acceleration and of its envelope, in turn
WIDTH = 96  # of the hidden layers; 128 in the benchmark, whose input is larger
BOTTLENECK = 8
LEARNING_RATE = 0.01  # of the first epoch

my_model = ModelSpec(version=1, description="Anomalies of a rotating machine from its vibration")
my_model.evaluate_as = "autoencoder"

my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"

# What firmware needs to compute the input.
my_model.model_parameters.update(PARAMETERS)
my_model.model_parameters["frames"] = FRAMES

my_model.epochs = 100
my_model.batch_size = 64
my_model.optimizer = "adam"
my_model.loss = "mse"


def levels(fault: str, rng: np.random.Generator) -> np.ndarray:
    """Return the input of the network (40,) for a random machine that has a fault; firmware computes the same."""
    return features(vibration(fault, rng)).mean(axis=0).ravel()


def load(subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Return levels (n, 40) of machines that are in no other subset, and what belongs to them.

    For training and validation, that is the levels again, and all machines are healthy. For evaluation it is
    labels (n,), 0 for healthy and 1 for an anomaly, and every second machine is faulty.
    """
    seed, n = {"training": (0, 2000), "validation": (1, 600), "evaluation": (2, 1000)}[subset]
    rng = np.random.default_rng(seed)
    healthy, *faulty = FAULTS
    if subset != "evaluation":
        x = np.stack([levels(healthy, rng) for _ in range(n)])
        return x, x
    labels = np.arange(n) % 2
    faults = [faulty[i // 2 % len(faulty)] if anomaly else healthy for i, anomaly in enumerate(labels)]
    return np.stack([levels(fault, rng) for fault in faults]), labels


def build(spec: ModelSpec):
    """Return the autoencoder: four layers, the bottleneck, four layers, and the levels again."""
    import keras
    from keras import layers

    def hidden(x):
        x = layers.Dense(WIDTH, use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))  # settles within the 32 steps of an epoch

    machine = keras.Input((LEVELS,), name="levels")
    x = machine
    for _ in range(4):
        x = hidden(x)
    x = layers.Dense(BOTTLENECK, name="bottleneck")(x)  # linear: a ReLU would leave some of the 8 dead
    for _ in range(4):
        x = hidden(x)
    x = layers.Dense(LEVELS)(x)

    model = keras.Model(machine, x, name="autoencoder")
    model.compile(optimizer=spec.optimizer, loss=spec.loss, metrics=spec.metrics)
    return model


def callbacks() -> list:
    """Return the callbacks of one training: steps that shrink to nothing, so that the statistics come to rest."""
    import keras

    def rate(epoch: int) -> float:
        return float(LEARNING_RATE * (1 + np.cos(np.pi * epoch / my_model.epochs)) / 2)

    return [keras.callbacks.LearningRateScheduler(rate)]


my_model.dataset = load
my_model.build_model_function = build
my_model.train_callbacks = callbacks
