#!/usr/bin/env bash
# The U-Net's train step and prediction in bfloat16 and float32, and the pointwise networks' steps, on one GPU beside
# PyTorch (torch.compile, default layout and channels-last) on the same GPU in the same run, with the GPU's own peak
# measured before. Meant to take under 8 minutes, the installations left out.
# It has not been run on a GPU yet: the numbers that the project reports are from CPUs.
#   bash launch/gpu_bench.sh            # JAX=cuda13 where the driver is for CUDA 13
set -euo pipefail
export EXTRAS=${EXTRAS:-test,${JAX:-cuda12}}
# shellcheck source=launch/environment.sh
source "$(dirname "$0")/environment.sh"
export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0}
export XLA_PYTHON_CLIENT_PREALLOCATE=false # the rivals need room on the same GPU
out=runs/benchmarks/gpu-$(date +%Y%m%d-%H%M%S).txt
mkdir -p runs/benchmarks
python -c 'import jax; assert jax.default_backend() == "gpu", "error: JAX sees no GPU"'
{
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
  git describe --always --dirty
  for dtype in bfloat16 float32; do
    timeout 200 python -m benchmarks.unet --rounds=20 --dtype="$dtype" --compile
  done
  timeout 120 python -m benchmarks.pointwise
} 2>&1 | tee "$out"
echo "written to $out"
