"""Makes keras.npz: what the paper's three networks, built independently in Keras, make of a rule's weights and inputs.

Run it in an environment of its own; the project does not depend on Keras:

    python -m venv keras-env && keras-env/bin/pip install "keras==3.15.1" jax
    KERAS_BACKEND=jax JAX_ENABLE_X64=1 keras-env/bin/python tests/goldens/make_keras_goldens.py

For each network: its output at inference and in training, its running statistics after one training step, and its
output at inference after that step (Adam, 1e-3, mean squared error over all voxels). All in double precision: Adam
turns the rounding of a small gradient, such as of a ReLU that is nearly 0, into a step of visible size.
"""

import sys
from pathlib import Path

import keras  # pyright: ignore[reportMissingImports] (lives in the maker's own environment)
import numpy as np
from keras import layers  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).parent))
from rule import SIZE, arrays, batch


def one_layer(x: keras.KerasTensor) -> keras.KerasTensor:
    """The paper's simplest network."""
    return layers.Conv3D(1, 1)(x)


def two_layer(x: keras.KerasTensor) -> keras.KerasTensor:
    """The paper's best network."""
    x = layers.BatchNormalization()(x)
    x = layers.Conv3D(12, 1)(x)
    x = layers.BatchNormalization()(x)
    return layers.Conv3D(1, 1)(x)


def unet(x: keras.KerasTensor) -> keras.KerasTensor:
    """The paper's modified U-Net."""

    def twice(x: keras.KerasTensor, features: int, kernel: int = 3) -> keras.KerasTensor:
        for _ in range(2):
            x = layers.Conv3D(features, kernel, padding="same", activation="relu")(x)
        return x

    first = twice(x, 32)
    second = twice(layers.MaxPooling3D()(first), 64)
    third = twice(layers.MaxPooling3D()(second), 128)
    fourth = twice(layers.MaxPooling3D()(third), 256)
    fifth = twice(fourth, 512, kernel=1)
    x = twice(layers.concatenate([fifth, fourth]), 256)
    for features, skip in ((128, third), (64, second), (32, first)):
        up = layers.Conv3DTranspose(features, 2, strides=2, padding="same")(x)
        x = twice(layers.concatenate([up, skip]), features)
    return layers.Conv3D(1, 1, activation="sigmoid")(x)


def goldens(name: str, build: object) -> dict[str, np.ndarray]:
    """Returns the outputs of one network by `<network>/<what>`."""
    keras.config.set_floatx("float64")
    inputs = keras.Input(SIZE[1:])
    model = keras.Model(inputs, build(inputs))  # pyright: ignore[reportCallIssue] (one of the functions above)
    wanted = [weight.shape for weight in model.weights]
    values = [value.reshape(shape) for value, shape in zip(arrays(name).values(), wanted, strict=True)]
    model.set_weights(values)
    perfusion, target = batch()
    found = {"parameters": np.array(model.count_params())}
    found["inference"] = np.asarray(model(perfusion, training=False))[..., 0]
    found["training"] = np.asarray(model(perfusion, training=True))[..., 0]
    model.set_weights(values)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    model.train_on_batch(perfusion, target[..., None])
    found["after_step"] = np.asarray(model(perfusion, training=False))[..., 0]
    after = [np.asarray(weight).ravel() for weight in model.weights]
    found["first_entries"] = np.stack([np.resize(weight, 8) for weight in after])
    found["sums"] = np.array([weight.sum(dtype=np.float64) for weight in after])
    found = {what: value.astype(np.float32) if value.ndim > 1 else value for what, value in found.items()}
    return {f"{name}/{what}": value for what, value in found.items()}


if __name__ == "__main__":
    everything: dict[str, np.ndarray] = {}
    for function in (one_layer, two_layer, unet):
        everything |= goldens(function.__name__, function)
    path = Path(__file__).parent / "keras.npz"
    np.savez_compressed(path, **everything)  # pyright: ignore[reportArgumentType] (its stub knows one keyword)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, Keras {keras.__version__}")
