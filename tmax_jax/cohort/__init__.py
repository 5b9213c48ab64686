"""Patients as arrays: the store, folds and batches."""
