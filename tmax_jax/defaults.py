"""The configuration: every option with its type, its default and what it means.

A file of `configs/` takes these defaults, changes what its experiment is about and names its variants; the command
line may override any of them (`--config.epochs=5`). `experiment.py` is the only reader.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

Config = Any  # a ConfigDict; to a type checker its entries could be anything


def get_config() -> Config:
    """Returns the defaults: Tmax in seconds, scored and learnt inside the brain."""
    config: Config = ConfigDict()
    config.name = "unnamed"  # of the run folder, runs/<name>
    config.seed = 0  # of folds, initial weights and the order of patients

    config.data = ConfigDict()
    config.data.source = "cohort"  # or "simulated": curves made in the step, as `simulation` says
    config.data.store = "cohort.zarr"  # what `python -m tmax_jax.convert` wrote
    config.data.holdout = ""  # case id kept out of all folds; drawn by the seed when empty
    config.data.missing_percent = 0.0  # of each training patient's images taken away, the same ones in every epoch
    config.data.patients = 0  # train on so many of the cohort, drawn by the seed, and score all; 0: on all
    config.data.inputs = ("signal",)  # channels that the network sees: see models/inputs.py
    config.data.normalise = True  # intensities to 0..1 per series; False: as the scanner stored them
    config.data.fill_inserted = False  # images that were missing are interpolated in time; False: they are zeros

    config.folds = 6  # cross-validation by patient over all but the holdout
    config.epochs = 25  # the score is the one after the last
    config.patience_epochs = 0  # stop a fold so long after its best validation score, and keep that epoch; 0: never
    config.batch_size = 1  # patients a step, spread over the devices

    config.start_from = ""  # run folder whose final parameters a fit starts from
    config.model = ConfigDict({"name": "two_layer"})  # the other entries are the model's own fields

    config.loss = ConfigDict()
    config.loss.name = "squared_error"  # of `losses.LOSSES`; the other entries of config.loss are its options
    config.loss.voxels = "brain"  # that count: "brain" or "all"
    config.loss.max_inserted_percent = 100.0  # a slice of which more images were missing does not count
    config.loss.target_weight = 1.0  # 0: learns from the consistency alone, without any target
    config.loss.consistency = 0.0  # weight of: delay, flow and transit time must give the measured curve
    config.loss.unit_s = 1.0  # seconds of Tmax that the loss counts as 1, so that its thresholds are in seconds

    config.target = ConfigDict()
    config.target.scale_s = 20.0  # seconds of Tmax that an output of 1 means; a sigmoid head ends there
    config.target.further = ConfigDict()  # maps learnt beside Tmax: {"cbf": {"scale": 60.0, "weight": 1.0}}, see `Task`
    config.target.strip = True  # a predicted map is 0 outside the brain

    config.optimizer = ConfigDict()  # Adam
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "constant"  # or "cosine": falls to 0 at the end of the last epoch
    config.optimizer.warmup_epochs = 0  # in which the learning rate rises from 0
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999
    config.optimizer.eps = 1e-7  # Keras's; optax's own default is 1e-8
    config.optimizer.weight_decay = 0.0  # decoupled (AdamW), of kernels
    config.optimizer.clip_norm = 0.0  # greatest norm of a step's gradients; 0: any
    config.ema_decay = 0.0  # predict with a moving average of the parameters, e.g. 0.99 (a hundred steps); 0: off

    config.augment = ConfigDict()  # of training cases, each drawn anew in every step; 0: off
    config.augment.flip_probability = 0.0  # left and right exchanged
    config.augment.rotation_degrees = 0.0  # in the plane of the slices, up to so much either way
    config.augment.bolus_shift_frames = 0  # of the series in time, up to so much either way
    config.augment.intensity_scale_percent = 0.0  # brighter or darker, up to so much
    config.augment.noise_percent = 0.0  # Rician; of the series' greatest intensity
    config.augment.dropped_images_percent = 0.0  # lost, as if their files were missing

    config.simulation = ConfigDict()  # what a step draws where data.source is "simulated"
    config.simulation.steps_an_epoch = 50
    config.simulation.scans = 16  # a step, shared among the numbers of frames
    config.simulation.curves = 64  # of a scan
    config.simulation.frames = (40, 60, 80)
    config.simulation.ranges = ConfigDict()  # fields of perfusion.curves.Ranges that differ from its defaults

    config.tensorboard = False  # scalars for TensorBoard too (needs the extra: pip install 'tmax_jax[tensorboard]')
    return config


def paper(config: Config) -> None:
    """The paper's set-up: targets in stored units (milliseconds), unscaled, and all voxels count."""
    config.name += "-paper"
    config.target.scale_s = 0.001
    config.loss.unit_s = 0.001
    config.target.strip = False
    config.loss.voxels = "all"
    config.optimizer.learning_rate = 1e-3
    config.batch_size = 1
    config.epochs = 25
    config.folds = 6


def choose(config: Config, variant: str, variants: dict[str, Callable[[Config], None]]) -> Config:
    """Applies the variant that the command line names: `--config=configs/unet.py:paper`.

    Args:
      config: of the experiment; its model fields may be overridden but not extended from here on.
      variant: a key of `variants`, or empty for none.
      variants: each changes the config in place.

    Returns:
      The config.

    Raises:
      SystemExit: an unknown variant, with the known ones. (The flag parser would swallow an exception's text.)
    """
    if variant:
        if variant not in variants:
            raise SystemExit(f"error: no variant {variant!r} of {config.name}; choose one of: {', '.join(variants)}")
        variants[variant](config)
    return config


def pick(name: str, sweep: dict[str, Config], variant: str = "") -> Config:
    """Returns one variant of a sweep, so that `main` can run it alone: `--config=configs/ablations/depth.py:depth6`.

    Args:
      name: of the sweep.
      sweep: its configs by variant.
      variant: a key of `sweep`; the first one when empty.

    Returns:
      The config, named after both.

    Raises:
      SystemExit: an unknown variant, with the known ones.
    """
    variant = variant or next(iter(sweep))
    if variant not in sweep:
        raise SystemExit(f"error: no variant {variant!r} of {name}; choose one of: {', '.join(sweep)}")
    config = sweep[variant]
    config.name = f"{name}-{variant}"
    return config
