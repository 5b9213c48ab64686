"""How good a map is, counted as sums that merge over batches and devices and are divided once."""

from tmax_jax.metrics.voxel import VoxelSums, voxel_sums, voxel_values

__all__ = ["VoxelSums", "voxel_sums", "voxel_values"]
