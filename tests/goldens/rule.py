"""Weights, inputs and targets of the golden outputs: by a rule, so that nothing of size has to be kept.

Used by the maker, in an environment of its own, and by the test: NumPy only.
"""

import numpy as np

SIZE = (2, 8, 16, 16, 60)  # case, z, y, x, time
_WIDTHS = (32, 64, 128, 256)


def arrays(name: str) -> dict[str, np.ndarray]:
    """Returns every array of a network by the names that the Flax modules use, in Keras's order of layers."""
    rng = np.random.default_rng(list(name.encode()))

    def uniform(shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, shape).astype(np.float32)

    found: dict[str, np.ndarray] = {}

    def layer(path: str, *shape: int, features: int | None = None) -> None:
        limit = np.sqrt(6 / ((shape[-1] + shape[-2]) * np.prod(shape[:-2], dtype=float)))  # Glorot
        found[f"params/{path}/kernel"] = uniform(shape, -limit, limit)
        found[f"params/{path}/bias"] = uniform((features or shape[-1],), -0.05, 0.05)

    def norm(path: str, features: int) -> None:
        found[f"params/{path}/norm/scale"] = uniform((features,), 0.8, 1.2)
        found[f"params/{path}/norm/bias"] = uniform((features,), -0.1, 0.1)
        found[f"batch_stats/{path}/norm/mean"] = uniform((features,), 0.3, 0.7)
        found[f"batch_stats/{path}/norm/var"] = uniform((features,), 0.1, 0.3)

    def block(path: str, before: int, features: int, kernel: int = 3) -> None:
        layer(f"{path}/conv_1", kernel, kernel, kernel, before, features)
        layer(f"{path}/conv_2", kernel, kernel, kernel, features, features)

    if name == "one_layer":
        layer("head", 60, 1)
    elif name == "two_layer":
        norm("norm_1", 60)
        layer("hidden", 60, 12)
        norm("norm_2", 12)
        layer("head", 12, 1)
    else:
        for level, (before, features) in enumerate(zip((60, *_WIDTHS), _WIDTHS, strict=False), start=1):
            block(f"down_{level}", before, features)
        block("bottleneck", 256, 512, kernel=1)
        block("up_4", 512 + 256, 256)
        for level in (3, 2, 1):
            features = _WIDTHS[level - 1]
            layer(f"upconv_{level}", 2, 2, 2, features, 2 * features, features=features)
            block(f"up_{level}", 2 * features, features)
        layer("head", 1, 1, 1, 32, 1)
    return found


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Returns perfusion `[case, z, y, x, time]` in 0..1 and a target `[case, z, y, x]`."""
    rng = np.random.default_rng(2021)
    return rng.random(SIZE, np.float32), rng.random(SIZE[:-1], np.float32)
