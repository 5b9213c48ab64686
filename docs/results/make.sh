#!/usr/bin/env bash
# Makes the tables of this folder from nothing: simulated patients at two reduced sizes, five sweeps in two folds.
# Run it again to go on where it stopped. About three hours on two idle CPU cores; needs Linux (taskset).
set -euo pipefail
cd "$(dirname "$0")/../.."
source launch/environment.sh
OUT=${OUT:-runs/evidence}
CORES=$(nproc)
mkdir -p "$OUT"

cohort() { # name, patients, size
  if [ ! -d "$OUT/phantom$1" ]; then
    rm -rf "$OUT/phantom$1.partial"
    python -m tmax_jax.simulate --out="$OUT/phantom$1.partial" --patients="$2" --size="$3"
    mv "$OUT/phantom$1.partial" "$OUT/phantom$1"
  fi
  python -m tmax_jax.convert --dicom_dir="$OUT/phantom$1/dicom" --out="$OUT/cohort$1.zarr"
}
cohort "" 45 8,32,32,60
cohort -larger 25 16,48,48,60 # where the arteries are more than a few voxels

# A process a core, each with its share: small fits are done sooner than by one process on all cores.
sweep() { # a file of configs/ablations, the cohort, further overrides
  local round core
  for round in folds finals; do # a final fit waits until all folds are done
    for ((core = 0; core < CORES; core++)); do
      taskset --cpu-list "$core" python -m tmax_jax.sweep --config="configs/ablations/$1.py" --workdir="$OUT/$1" \
        --publish=docs/results --config.data.store="$OUT/cohort$2.zarr" --config.folds=2 "${@:3}" --shard="$core/$CORES" \
        >"$OUT/$1-$core-$round.log" 2>&1 &
    done
    wait
  done
  cat "docs/results/$1/README.md"
}
sweep losses ""
sweep table1 "" --config.epochs=10
sweep unet_regularisation "" --config.epochs=25 --config.model.features="(8, 16, 32, 64)" --config.model.bottleneck=128
sweep depth ""
sweep hybrids -larger
