"""Makes losses.npz: what independent implementations say of the maps in `maps.py`.

Run it in an environment of its own; the project depends on none of these packages:

    python -m venv goldens-env
    goldens-env/bin/pip install scikit-image==0.26.0 scikit-learn==1.9.1 torch==2.15.0 monai==1.6.1 torchmetrics==1.9.0
    goldens-env/bin/python tests/goldens/make_loss_goldens.py

MONAI for overlaps, scikit-image for SSIM, scikit-learn, torch and torchmetrics for the rest. MONAI takes masks of 0 and
1 as truth, so that the test gives overlaps a target far above the threshold or far below it.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports] (these live in the maker's own environment)
from monai.losses import DiceLoss, GeneralizedDiceLoss, TverskyLoss  # pyright: ignore[reportMissingImports]
from skimage.measure import block_reduce  # pyright: ignore[reportMissingImports]
from skimage.metrics import structural_similarity  # pyright: ignore[reportMissingImports]
from sklearn.metrics import (  # pyright: ignore[reportMissingImports]
    mean_absolute_percentage_error,
    mean_pinball_loss,
    mean_squared_error,
)
from torch.distributions import Bernoulli, kl_divergence  # pyright: ignore[reportMissingImports]
from torchmetrics.functional import log_cosh_error  # pyright: ignore[reportMissingImports]
from torchmetrics.functional.image import image_gradients  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).parent))
from maps import framed_maps, tmax_maps

THRESHOLDS_S = (4.0, 6.0, 8.0, 10.0)
WINDOW = {"gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "data_range": 20.0}
MULTISCALE = np.array([0.3, 0.3, 0.4])


def regression(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Losses of one case's voxels."""
    p, t = p.ravel().astype(float), t.ravel().astype(float)
    tp, tt = torch.from_numpy(p), torch.from_numpy(t)
    sides = np.where(p > t, 3.0, 0.5)
    false_alarm = np.where((p > 6) & (t <= 6), 4.0, 1.0)
    absolute = float(torch.nn.L1Loss()(tp, tt))
    huber = float(torch.nn.HuberLoss(delta=2.0)(tp, tt))
    return {
        "squared_error": mean_squared_error(t, p),
        "absolute_error": absolute,
        "huber": huber,
        "log_cosh": float(log_cosh_error(tp, tt)),
        "quantile": mean_pinball_loss(t, p, alpha=0.3),
        "asymmetric_squared_error": mean_squared_error(t, p, sample_weight=sides) * sides.mean(),
        "relative_error": mean_absolute_percentage_error(t + 1, p + 1),  # targets above the floor
        "precision_weighted": mean_squared_error(t, p, sample_weight=false_alarm) * false_alarm.mean(),
        "ordinal": float(
            sum(
                kl_divergence(Bernoulli(logits=(tt - at) / 0.5), Bernoulli(logits=(tp - at) / 0.5)).mean()
                for at in THRESHOLDS_S
            )
        ),
        "weighted_sum": absolute + 0.5 * huber,
    }


def overlap(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Losses of one case's mask above 6 s, and of its bands."""
    logits = torch.from_numpy((p[None, None].astype(float) - 6) / 0.5)
    truth = torch.from_numpy(t[None, None] > 6).double()
    tversky = float(TverskyLoss(sigmoid=True, alpha=0.7, beta=0.3, smooth_nr=1, smooth_dr=1)(logits, truth))
    above = [torch.sigmoid(torch.from_numpy((p.astype(float) - at) / 0.05)) for at in THRESHOLDS_S]
    edges = [torch.ones_like(above[0]), *above, torch.zeros_like(above[0])]
    memberships = torch.stack([low - high for low, high in itertools.pairwise(edges)])[None]
    band = torch.bucketize(torch.from_numpy(t.astype(float)), torch.tensor(THRESHOLDS_S, dtype=torch.float64))
    bands = torch.nn.functional.one_hot(band, len(THRESHOLDS_S) + 1).movedim(-1, 0)[None].double()
    return {
        "dice": float(DiceLoss(sigmoid=True, smooth_nr=2, smooth_dr=2)(logits, truth)),
        "tversky": tversky,
        "focal_tversky": tversky**0.75,
        "soft_precision": float(
            TverskyLoss(sigmoid=True, alpha=1.0, beta=0.0, smooth_nr=1, smooth_dr=1)(logits, truth)
        ),
        "generalized_dice": float(GeneralizedDiceLoss(w_type="square", smooth_nr=0, smooth_dr=0)(memberships, bands)),
    }


def contrast_term(p: np.ndarray, t: np.ndarray) -> float:
    """Mean of SSIM without its luminance term, which a huge first constant turns into 1."""
    return structural_similarity(p, t, K1=1e9, full=True, **WINDOW)[1].mean()


def structure(p: np.ndarray, t: np.ndarray) -> dict[str, float]:
    """Losses of one framed slice."""
    p, t = p.astype(float), t.astype(float)
    scales = [(p, t)]
    for _ in MULTISCALE[1:]:
        scales.append(tuple(block_reduce(image, (2, 2), np.mean) for image in scales[-1]))
    means = [contrast_term(*scale) for scale in scales[:-1]]
    means.append(structural_similarity(*scales[-1], full=True, **WINDOW)[1].mean())
    slopes = [image_gradients(torch.from_numpy(image)[None, None]) for image in (p, t)]
    rows, columns = (float((a - b).abs().sum()) for a, b in zip(*slopes, strict=True))
    pairs = p.size - p.shape[1] + p.size - p.shape[0]
    return {
        "ssim": 1 - structural_similarity(p, t, full=True, **WINDOW)[1].mean(),
        "multiscale_ssim": 1 - float(np.prod(np.array(means) ** MULTISCALE)),
        "gradient_difference": (rows / 1.8 + columns / 2.0) / pairs,
    }


if __name__ == "__main__":
    predictions, targets, _ = tmax_maps()
    cases = [regression(p, t) | overlap(p, t) for p, t in zip(predictions, targets, strict=True)]
    framed = [structure(p[0], t[0]) for p, t in zip(*framed_maps(), strict=True)]
    found = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    found |= {name: np.array([case[name] for case in framed]) for name in framed[0]}
    inner = (slice(5, -5),) * 3
    found["ssim_map_3d"] = np.stack(
        [
            structural_similarity(p.astype(float), t.astype(float), full=True, **WINDOW)[1][inner]
            for p, t in zip(predictions, targets, strict=True)
        ]
    )
    found["ssim_map_2d"] = np.stack(
        [
            structural_similarity(p[7].astype(float), t[7].astype(float), full=True, **WINDOW)[1][inner[1:]]
            for p, t in zip(predictions, targets, strict=True)
        ]
    )
    path = Path(__file__).parent / "losses.npz"
    np.savez_compressed(path, **found)  # pyright: ignore[reportArgumentType] (its stub knows one keyword)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", {name: value.shape for name, value in found.items()})
