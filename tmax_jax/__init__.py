"""Tmax maps from perfusion MRI in stroke: from DICOM to cross-validated networks, in JAX."""
