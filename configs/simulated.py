"""A voxel's network trained on simulated curves alone, made in the step: 204,296 parameters, no patient, no file.

Every step draws other scans: frame interval, number of frames, noise, bolus, artery (with noise and partial volume),
and tissue with other delays, transit times, volumes, residue functions and dispersion. The network takes scans of any
frame interval and number of frames, and gives delay, classical Tmax, flow and transit time, each with its uncertainty.

    python -m tmax_jax.main --config=configs/simulated.py
    python -m tmax_jax.main --config=configs/simulated.py:held_out   trained without what benchmarks/accuracy.py tests:
        residue functions exponential (two thirds) and gamma alone, SNR 25 to 200, a frame every 1.3 to 2.2 s
    python -m tmax_jax.main --config=configs/simulated.py:plain      held_out without deconvolved curves as input; wider
    python -m tmax_jax.main --config=configs/simulated.py:filtered   held_out with a learned deconvolution (203,677)
    python -m tmax_jax.main --config=configs/simulated.py:regularised      held_out; estimates must give the curve too
    python -m tmax_jax.main --config=configs/simulated.py:self_supervised  held_out; they must, and no truth is used
    python benchmarks/accuracy.py --run=runs/simulated-held_out --table=goals --table=volumes

Parameters: plain 202,928, filtered 203,677, the others 204,296.
"""

from ml_collections import ConfigDict

from tmax_jax import defaults


def get_config(variant: str = "") -> defaults.Config:
    config = defaults.get_config()
    config.name = "simulated"
    config.data.source = "simulated"
    config.data.inputs = ("aligned",)
    config.target.scale_s = 1.0  # the network speaks in seconds
    config.model = ConfigDict(
        {
            "name": "voxelwise",
            "features": (256, 256, 256),
            "strengths": (0.1, 0.3),
            "activation": "gelu",
            "reads": "delay",
            "dtype": "float32",
        }
    )
    config.epochs = 100
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_epochs = 1
    config.optimizer.clip_norm = 1.0
    config.simulation.scans = 63
    config.simulation.ranges = ConfigDict(
        {"delay_s": (-3.0, 13.0), "artery_share": (0.7, 1.0), "dispersed": 0.15, "shape": (2, 12)}
    )
    return defaults.choose(config, variant, VARIANTS)


def held_out(config: defaults.Config) -> None:
    config.name += "-held_out"
    ranges = config.simulation.ranges
    with ranges.unlocked():
        ranges.update({"families": (2.0, 0.0, 0.0, 1.0), "snr": (25.0, 200.0), "dt_s": (1.3, 2.2)})


def plain(config: defaults.Config) -> None:
    held_out(config)
    config.name = "simulated-plain"
    config.model.strengths = ()
    config.model.features = (285, 285, 285)


def filtered(config: defaults.Config) -> None:
    held_out(config)
    config.name = "simulated-filtered"
    config.model = ConfigDict(
        {
            "name": "filtered",
            "features": (270, 270, 270),
            "strength": 0.1,
            "activation": "gelu",
            "reads": "delay",
            "dtype": "float32",
        }
    )


def regularised(config: defaults.Config) -> None:
    held_out(config)
    config.name = "simulated-regularised"
    config.loss.consistency = 0.1


def self_supervised(config: defaults.Config) -> None:
    held_out(config)
    config.name = "simulated-self_supervised"
    config.loss.consistency = 1.0
    config.loss.target_weight = 0.0


VARIANTS = {
    "held_out": held_out,
    "plain": plain,
    "filtered": filtered,
    "regularised": regularised,
    "self_supervised": self_supervised,
}
