#!/usr/bin/env bash
# Trains on all GPUs of this machine, as one process: the batch's patients are split over them, and then the rows of
# their images. Arguments go to tmax_jax.main:
#   bash launch/local.sh --config=configs/unet.py --config.data.store=cohort.zarr [--mesh=data=4,space=2]
# Run it again to go on where it stopped.
set -euo pipefail
# shellcheck source=launch/environment.sh
source "$(dirname "$0")/environment.sh"
exec python -m tmax_jax.main "$@"
