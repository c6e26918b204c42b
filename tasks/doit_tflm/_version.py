"""The version of doit-tflm; part of every stage's digest, so that a new version rebuilds."""

__version__ = "0.1.0"
