#!/usr/bin/env bash
# The main job on simulated patients, from nothing to results: environment, DICOM cohort, store, three networks
# cross-validated, table and figures. Run it again to go on where it stopped. Under 8 minutes on two cores.
#
# The matrix is reduced to 8 x 32 x 32 so that the U-Net trains on a CPU; the 60 frames, the series and every step
# are those of the full size (24 x 128 x 128).
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "$0")/environment.sh"
OUT=${OUT:-runs/quickstart}
mkdir -p "$OUT"

if [ ! -d "$OUT/phantom" ]; then
  rm -rf "$OUT/phantom.partial"
  python -m tmax_jax.simulate --out="$OUT/phantom.partial" --patients=20 --size=8,32,32,60 --shuffle
  mv "$OUT/phantom.partial" "$OUT/phantom"
fi
python -m tmax_jax.convert --dicom_dir="$OUT/phantom/dicom" --out="$OUT/phantom/cohort.zarr"

train() { # the name of a config, and its epochs
  python -m tmax_jax.main --config="configs/$1.py" --workdir="$OUT/$1" \
    --config.data.store="$OUT/phantom/cohort.zarr" --config.folds=3 --config.epochs="$2"
}
train one_layer 60
train two_layer 100
train unet 10
python -m tmax_jax.report "$OUT/one_layer" "$OUT/two_layer" "$OUT/unet" --out="$OUT/report.csv"

echo
echo "Results are in $OUT (simulated patients, reduced matrix 8 x 32 x 32):"
echo "  one folder a network with results.csv, summary.json and figures/; the table above is report.csv"
