"""The networks in PyTorch and in Keras, as their users write them. Runs in the benchmarks' own environment.

  rivals.py FRAMEWORK MODEL WORK DATA.npz [option ...]

FRAMEWORK is torch or keras, MODEL one_layer, two_layer or (torch) unet, WORK train or predict.
DATA holds `x [case, z, y, x, time]`, `y` and the initial weights under the names of the Flax networks, `a/b/kernel`.
After the first step it prints that step's loss; then, a step for every line of its input, the seconds.
Options of torch: channels_last, bfloat16, compile, cuda.
"""

import itertools
import json
import os
import sys
import time

os.environ["KERAS_BACKEND"] = "jax"

import numpy as np


def torch_step(model_name, work, data, options):
    """Returns a function that does one step and gives its loss."""
    import torch  # pyright: ignore[reportMissingImports] (of another environment)
    from torch import nn  # pyright: ignore[reportMissingImports]

    device = "cuda" if "cuda" in options else "cpu"
    weights = {name: torch.from_numpy(np.array(data[name])) for name in data.files if "/" in name}

    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            widths = (32, 64, 128, 256)
            joined = (64, 128, 256, 768)  # channels that the way up takes in at each level
            block = self._block
            self.down = nn.ModuleList(
                [block(a, b, 3, f"down_{i}") for i, (a, b) in enumerate(zip((60, *widths), widths, strict=False), 1)]
            )
            self.bottleneck = block(256, 512, 1, "bottleneck")
            self.up = nn.ModuleList([block(joined[i - 1], widths[i - 1], 3, f"up_{i}") for i in (4, 3, 2, 1)])
            self.upconv = nn.ModuleList([self._transposed(widths[i], widths[i - 1], f"upconv_{i}") for i in (3, 2, 1)])
            self.head = self._conv(32, 1, 1, "head")

        def _conv(self, inputs, outputs, side, name):
            layer = nn.Conv3d(inputs, outputs, side, padding="same")
            kernel = weights[f"{name}/kernel"]
            layer.weight.data = kernel.reshape(side, side, side, inputs, outputs).permute(4, 3, 0, 1, 2).contiguous()
            layer.bias.data = weights[f"{name}/bias"].clone()
            return layer

        def _transposed(self, inputs, outputs, name):
            layer = nn.ConvTranspose3d(inputs, outputs, 2, 2)
            layer.weight.data = weights[f"{name}/kernel"].permute(4, 3, 0, 1, 2).contiguous()
            layer.bias.data = weights[f"{name}/bias"].clone()
            return layer

        def _block(self, inputs, outputs, side, name):
            one = self._conv(inputs, outputs, side, f"{name}/conv_1")
            return nn.Sequential(one, nn.ReLU(), self._conv(outputs, outputs, side, f"{name}/conv_2"), nn.ReLU())

        def forward(self, x):
            skips = []
            for level, down in enumerate(self.down):
                skips.append(down(x if not level else nn.functional.max_pool3d(skips[-1], 2)))
            x = self.bottleneck(skips[3])
            for level, up in zip((3, 2, 1, 0), self.up, strict=True):
                larger = x if level == 3 else self.upconv[2 - level](x)
                x = up(torch.cat([larger, skips[level]], 1))
            return self.head(x)

    if model_name == "unet":
        model = UNet()
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(data["x"], -1, 1)))
        y = torch.from_numpy(data["y"])[:, None]
        if "channels_last" in options:
            model, x = (
                model.to(memory_format=torch.channels_last_3d),
                x.contiguous(memory_format=torch.channels_last_3d),
            )
    else:  # one matrix product over the voxels: faster than a convolution of 1 x 1 x 1
        sizes = [60, 1] if model_name == "one_layer" else [60, 12, 1]
        layers = []
        for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            if model_name == "two_layer":
                layers.append(nn.BatchNorm1d(inputs, eps=1e-3, momentum=0.01))
            layers.append(nn.Linear(inputs, outputs))
            name = "head" if number == len(sizes) - 2 else "hidden"
            layers[-1].weight.data = weights[f"{name}/kernel"].T.contiguous()
            layers[-1].bias.data = weights[f"{name}/bias"].clone()
        model = nn.Sequential(*layers)
        x, y = torch.from_numpy(data["x"].reshape(-1, 60)), torch.from_numpy(data["y"].reshape(-1, 1))
    model, x, y = model.to(device), x.to(device), y.to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, eps=1e-7, fused=device == "cuda")
    forward = torch.compile(model) if "compile" in options else model
    half = torch.autocast(device, torch.bfloat16, enabled="bfloat16" in options)

    def train():
        optimizer.zero_grad(set_to_none=True)
        with half:
            output = forward(x)
        loss = nn.functional.mse_loss(output.float(), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    def predict():
        with torch.inference_mode(), half:
            return nn.functional.mse_loss(forward(x).float(), y).item()

    if work == "predict":
        model.eval()
    return {"train": train, "predict": predict}[work]


def keras_step(model_name, work, data, options):
    """Returns a function that does one step and gives its loss."""
    import jax.numpy as jnp
    import keras  # pyright: ignore[reportMissingImports]

    del options
    inputs = keras.Input(data["x"].shape[1:])
    dense = {name: keras.layers.Dense(width) for name, width in (("hidden", 12), ("head", 1))}
    norm = lambda: keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99)  # noqa: E731
    x = inputs
    if model_name == "two_layer":
        x = norm()(dense["hidden"](norm()(x)))
    model = keras.Model(inputs, dense["head"](x))
    for name, layer in dense.items():
        if f"{name}/kernel" in data.files:
            layer.set_weights([data[f"{name}/kernel"], data[f"{name}/bias"]])
    model.compile(keras.optimizers.Adam(1e-4, epsilon=1e-7), "mse")
    x, y = jnp.asarray(data["x"]), jnp.asarray(data["y"])[..., None]
    if work == "train":
        return lambda: float(model.train_on_batch(x, y))
    return lambda: float(model.test_on_batch(x, y))


def main():
    """Prepares, answers once, and then whenever it is asked."""
    framework, model, work, path, *options = sys.argv[1:]
    with np.load(path) as data:
        step = {"torch": torch_step, "keras": keras_step}[framework](model, work, data, options)
    print(json.dumps({"loss": step()}), flush=True)
    step()
    for _line in sys.stdin:
        start = time.perf_counter()
        step()
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
