"""The physics of bolus MRI: signal, artery, residue, deconvolution, maps, and a patient made of them; in JAX."""
