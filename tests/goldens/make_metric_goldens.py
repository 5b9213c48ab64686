"""Makes metrics.npz: what independent implementations say of the maps in `maps.py`, inside their mask.

Run it in the environment that `make_loss_goldens.py` describes:

    goldens-env/bin/python tests/goldens/make_metric_goldens.py

scikit-learn for errors and overlaps; scipy, torchmetrics and scikit-image for correlations, PSNR and SSIM (a normalised
convolution, written out with scipy's Gaussian filter), MONAI for the Hausdorff distance.
"""

import sys
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports] (these live in the maker's own environment)
from monai.metrics.hausdorff_distance import compute_hausdorff_distance  # pyright: ignore[reportMissingImports]
from scipy import ndimage, stats
from skimage.metrics import peak_signal_noise_ratio  # pyright: ignore[reportMissingImports]
from sklearn import metrics  # pyright: ignore[reportMissingImports]
from torchmetrics.functional import concordance_corrcoef  # pyright: ignore[reportMissingImports]

sys.path.insert(0, str(Path(__file__).parent))
from maps import SPACING_MM, tmax_maps


def masked_ssim(p: np.ndarray, t: np.ndarray, mask: np.ndarray) -> float:
    """Mean SSIM of the mask's voxels, slice by slice, by normalised convolution."""

    def local(values: np.ndarray) -> np.ndarray:
        options = {"sigma": (0, 1.5, 1.5), "truncate": 3.5, "mode": "constant"}
        return ndimage.gaussian_filter(values * mask, **options) / ndimage.gaussian_filter(
            mask.astype(float), **options
        )

    mean_p, mean_t = local(p), local(t)
    var_p, var_t, covariance = (local(a * b) - local(a) * local(b) for a, b in ((p, p), (t, t), (p, t)))
    luminance = (2 * mean_p * mean_t + 0.2**2) / (mean_p**2 + mean_t**2 + 0.2**2)
    return (luminance * (2 * covariance + 0.6**2) / (var_p + var_t + 0.6**2))[mask].mean()


def values(p: np.ndarray, t: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """All metrics of one case."""
    p, t = p.astype(float), t.astype(float)
    inside_p, inside_t = p[mask], t[mask]
    error = inside_p - inside_t
    ml = float(np.prod(SPACING_MM)) / 1000
    found = {
        "mse_all_s2": metrics.mean_squared_error(t.ravel(), p.ravel()),
        "mse_brain_s2": metrics.mean_squared_error(inside_t, inside_p),
        "mae_brain_s": metrics.mean_absolute_error(inside_t, inside_p),
        "bias_brain_s": error.mean(),
        "over_share_brain": error[error > 0].sum() / np.abs(error).sum(),
        "r2_brain": metrics.r2_score(inside_t, inside_p),
        "ccc_brain": float(concordance_corrcoef(torch.from_numpy(inside_p), torch.from_numpy(inside_t))),
        "pearson_brain": stats.pearsonr(inside_p, inside_t)[0],
        "psnr_brain_db": peak_signal_noise_ratio(inside_t, inside_p, data_range=20),
        "ssim_brain": masked_ssim(p, t, mask),
        "whiteout": 1 - metrics.recall_score(inside_t > 4, inside_p > 6, pos_label=False),
        "hausdorff95_6s_mm": float(
            compute_hausdorff_distance(
                torch.from_numpy((mask & (p > 6))[None, None]).float(),
                torch.from_numpy((mask & (t > 6))[None, None]).float(),
                include_background=True,
                percentile=95,
                spacing=SPACING_MM,
            )
        ),
    }
    for at in (4, 6, 8, 10):
        above_p, above_t = inside_p > at, inside_t > at
        found |= {
            f"dice_{at}s": metrics.f1_score(above_t, above_p),
            f"jaccard_{at}s": metrics.jaccard_score(above_t, above_p),
            f"precision_{at}s": metrics.precision_score(above_t, above_p),
            f"recall_{at}s": metrics.recall_score(above_t, above_p),
            f"volume_true_{at}s_ml": above_t.sum() * ml,
            f"volume_predicted_{at}s_ml": above_p.sum() * ml,
            f"volume_difference_{at}s_ml": (int(above_p.sum()) - int(above_t.sum())) * ml,
        }
    hir = {which: found[f"volume_{which}_10s_ml"] / found[f"volume_{which}_6s_ml"] for which in ("true", "predicted")}
    found |= {f"hir_{which}": value for which, value in hir.items()}
    return found | {"hir_difference": hir["predicted"] - hir["true"]}


if __name__ == "__main__":
    predictions, targets, masks = tmax_maps()
    cases = [values(*case) for case in zip(predictions, targets, masks, strict=True)]
    path = Path(__file__).parent / "metrics.npz"
    found = {name: np.array([case[name] for case in cases]) for name in cases[0]}
    np.savez_compressed(path, **found)  # pyright: ignore[reportArgumentType] (its stub knows one keyword)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    for name, value in found.items():
        print(name, value)
