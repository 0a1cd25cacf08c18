"""Noctis: the front door for DICOM images that arrive from many facilities."""

__version__ = "0.1.0"
