#!/usr/bin/env bash
# Makes the tables of this folder from nothing: 45 simulated patients at reduced size, four sweeps in two folds.
# Run it again to go on where it stopped. About 75 minutes on two idle CPU cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
source launch/environment.sh
OUT=${OUT:-runs/evidence}
mkdir -p "$OUT"

if [ ! -d "$OUT/phantom" ]; then
  rm -rf "$OUT/phantom.partial"
  python -m tmax_jax.simulate --out="$OUT/phantom.partial" --patients=45 --size=8,32,32,60
  mv "$OUT/phantom.partial" "$OUT/phantom"
fi
python -m tmax_jax.convert --dicom_dir="$OUT/phantom/dicom" --out="$OUT/cohort.zarr"

sweep() { # a file of configs/ablations, its epochs, further overrides
  python -m tmax_jax.sweep --config="configs/ablations/$1.py" --workdir="$OUT/$1" --publish=docs/results \
    --config.data.store="$OUT/cohort.zarr" --config.folds=2 --config.epochs="$2" "${@:3}"
}
sweep losses 30
sweep table1 10
sweep depth 30
sweep unet_regularisation 10 --config.model.features="(8, 16, 32, 64)" --config.model.bottleneck=128
