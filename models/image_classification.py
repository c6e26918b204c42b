"""ResNet-8 on handwritten digits: the image classification network of MLPerf Tiny.

The data are the 1797 digits that come with scikit-learn, 8x8 pixels of 0 (paper) to 16 (ink). They are scaled
to 0..1 and enlarged to the 32x32x3 input that the network has in the benchmark.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from doit_tflm import ModelSpec

INK = 16.0  # the darkest pixel
ENLARGE = 4  # 8x8 -> 32x32

my_model = ModelSpec(version=1, description="ResNet-8 on handwritten digits", classes=[str(d) for d in range(10)])

# How the model is converted: 8-bit integers throughout, calibrated with samples from load("validation").
my_model.tflite_converter["optimizations"] = [tf.lite.Optimize.DEFAULT]
my_model.tflite_converter["supported_ops"] = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
my_model.tflite_converter["inference_input_type"] = tf.int8
my_model.tflite_converter["inference_output_type"] = tf.int8
my_model.tflite_converter["representative_dataset"] = "generate"

# What firmware is told, inside the .tflite: input = repeat(pixel, enlarge) * rescale.
my_model.model_parameters["rescale"] = 1 / INK
my_model.model_parameters["enlarge"] = ENLARGE

# How the model is trained.
my_model.epochs = 30
my_model.batch_size = 32
my_model.optimizer = "adam"
my_model.loss = "sparse_categorical_crossentropy"
my_model.metrics = ["accuracy"]


def load(subset: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 32, 32, 3) and labels (n,) of a subset; the three subsets do not overlap."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    shuffled = np.random.default_rng(seed=0).permutation(len(digits.images))
    training, validation, evaluation = np.split(shuffled, [1100, 1400])
    chosen = {"training": training, "validation": validation, "evaluation": evaluation}[subset]

    pixels = (digits.images[chosen] / INK).astype(np.float32)
    pixels = pixels.repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)  # nearest neighbour
    return np.stack([pixels] * 3, axis=-1), digits.target[chosen]


def build(spec: ModelSpec) -> keras.Model:
    """Return ResNet-8: a convolution, three residual stacks, and a softmax over the pooled features."""

    def conv(x, filters, kernel=3, strides=1):
        return layers.Conv2D(
            filters,
            kernel,
            strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(1e-4),
        )(x)

    def normalised(x):
        return layers.BatchNormalization(momentum=0.9)(x)  # settles within the 35 steps of an epoch

    def stack(x, filters, strides):
        y = layers.ReLU()(normalised(conv(x, filters, strides=strides)))
        y = normalised(conv(y, filters))
        shortcut = x if strides == 1 else conv(x, filters, kernel=1, strides=strides)
        return layers.ReLU()(layers.Add()([shortcut, y]))

    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU()(normalised(conv(image, 16)))
    x = stack(x, 16, strides=1)
    x = stack(x, 32, strides=2)
    x = stack(x, 64, strides=2)
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    x = layers.Dense(len(spec.classes), activation="softmax", kernel_initializer="he_normal")(x)

    model = keras.Model(image, x, name="resnet8")
    model.compile(optimizer=spec.optimizer, loss=spec.loss, metrics=spec.metrics)
    return model


def callbacks() -> list[keras.callbacks.Callback]:
    """Return the callbacks of one training: smaller steps when stuck, and the best weights in the end."""
    return [
        keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=3),
        keras.callbacks.EarlyStopping(patience=8, restore_best_weights=True),
    ]


my_model.dataset = load
my_model.build_model_function = build
my_model.train_callbacks = callbacks
