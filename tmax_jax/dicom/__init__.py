"""DICOM files to ordered series: headers, pixels, geometry, time, and back to files."""
