"""The paper's U-Net with what its outlook asks for: normalisation, dropout and varied training cases.

13,129,217 parameters: the U-Net's and 5,888 of group normalisation. Groups, because a batch of one patient has no batch
statistics that inference could share (see two_layer.py); the other norms and shapes are variants.

    python -m tmax_jax.main --config=configs/unet_regularised.py
    python -m tmax_jax.main --config=configs/unet_regularised.py:batch       batch normalisation, 4 patients a step
    python -m tmax_jax.main --config=configs/unet_regularised.py:instance    instance normalisation
    python -m tmax_jax.main --config=configs/unet_regularised.py:residual    shortcuts around the blocks
    python -m tmax_jax.main --config=configs/unet_regularised.py:keep_z      the finest pooling keeps the slices
    python -m tmax_jax.main --config=configs/unet_regularised.py:bfloat16    computes in bfloat16 (GPUs)
    python -m tmax_jax.main --config=configs/unet_regularised.py:paper       stored units, all voxels, a sigmoid head

Parameters: batch 13,135,105 (with running statistics), residual 13,546,305, keep_z 13,121,025, the others 13,129,217.

A GPU is wanted, as for `unet.py`.
On the quickstart's patients (simulated, 8 x 32 x 32; fold 0 of 3, 8 epochs): brain MSE 3.8 s², the training mean 5.1
s²; five minutes on two busy CPU cores.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "unet_regularised"
    config.model = ConfigDict(
        {
            "name": "unet",
            "features": (32, 64, 128, 256),
            "bottleneck": 512,
            "keep_z": (),
            "norm": "group",
            "dropout": 0.1,
            "residual": False,
            "head_activation": "linear",
            "dtype": "float32",
        }
    )
    config.epochs = 50  # varied cases take longer to learn by heart
    config.optimizer.learning_rate = 1e-3  # normalised layers stand ten times the plain U-Net's
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1
    config.optimizer.weight_decay = 1e-2
    config.optimizer.clip_norm = 1.0
    config.ema_decay = 0.99
    config.augment.flip_probability = 0.5
    config.augment.rotation_degrees = 5.0
    config.augment.bolus_shift_frames = 2
    config.augment.intensity_scale_percent = 10.0
    config.augment.noise_percent = 0.5
    config.augment.dropped_images_percent = 1.0
    return defaults.choose(config, variant, VARIANTS)


def batch(config: defaults.Config) -> None:
    config.name += "-batch"
    config.model.norm = "batch"
    config.batch_size = 4


def instance(config: defaults.Config) -> None:
    config.name += "-instance"
    config.model.norm = "instance"


def residual(config: defaults.Config) -> None:
    config.name += "-residual"
    config.model.residual = True


def keep_z(config: defaults.Config) -> None:
    config.name += "-keep_z"
    config.model.keep_z = (1,)


def bfloat16(config: defaults.Config) -> None:
    config.name += "-bfloat16"
    config.model.dtype = "bfloat16"


def paper(config: defaults.Config) -> None:
    epochs = config.epochs
    defaults.paper(config)
    config.epochs = epochs  # of the schedule
    config.model.head_activation = "sigmoid"


VARIANTS = {
    "batch": batch,
    "instance": instance,
    "residual": residual,
    "keep_z": keep_z,
    "bfloat16": bfloat16,
    "paper": paper,
}
