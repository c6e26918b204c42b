"""What is wrong with a rotating machine, from one second of vibration at its bearing.

The network is the DS-CNN of MLPerf Tiny's keyword spotting, with half its filters. Its input is a log
spectrogram of 49 frames and 20 bands with two channels: the acceleration, and its envelope, which is where a
faulty bearing shows. The bands are evenly spaced in pitch, so that the multiples of the shaft's speed keep
their distance at every speed.

The data are synthesised by _vibration.py, with the textbook signatures of the faults.
"""

import numpy as np
from _vibration import BANDS, FAULTS, FRAMES, PARAMETERS, features, vibration

from doit_tflm import ModelSpec

my_model = ModelSpec(version=1, description="Faults of a rotating machine from its vibration")
my_model.classes = FAULTS

my_model.tflite_converter["inference_input_type"] = "int8"
my_model.tflite_converter["inference_output_type"] = "int8"
my_model.tflite_converter["representative_dataset_max_samples"] = 500

# What firmware needs to compute the features.
my_model.model_parameters.update(PARAMETERS)

my_model.epochs = 40
my_model.batch_size = 32
my_model.optimizer = "adam"
my_model.loss = "sparse_categorical_crossentropy"
my_model.metrics = ["accuracy"]


def load(subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, 49, 20, 2) and labels (n,) of machines that are in no other subset."""
    seed, n = {"training": (0, 2000), "validation": (1, 600), "evaluation": (2, 1000)}[subset]
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(FAULTS)
    return np.stack([features(vibration(FAULTS[label], rng)) for label in labels]), labels


def build(spec: ModelSpec):
    """Return the DS-CNN: a convolution, four depthwise-separable ones, and a softmax over the pooled features."""
    import keras
    from keras import layers

    def normalised(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    spectrogram = keras.Input((FRAMES, BANDS, 2), name="spectrogram")
    x = layers.Conv2D(32, (10, 4), strides=2, padding="same", use_bias=False)(spectrogram)
    x = layers.Dropout(0.2)(normalised(x))
    for _ in range(4):
        x = normalised(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
        x = normalised(layers.Conv2D(32, 1, use_bias=False)(x))
    x = layers.Dropout(0.4)(x)
    x = layers.Flatten()(layers.AveragePooling2D(x.shape[1:3])(x))
    x = layers.Dense(len(spec.classes), activation="softmax")(x)

    model = keras.Model(spectrogram, x, name="ds_cnn")
    model.compile(optimizer=spec.optimizer, loss=spec.loss, metrics=spec.metrics)
    return model


def callbacks() -> list:
    """Return the callbacks of one training: smaller steps when stuck, and the best weights in the end."""
    import keras

    return [
        keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=4),
        keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
    ]


my_model.dataset = load
my_model.build_model_function = build
my_model.train_callbacks = callbacks
