"""The reference project's build: `doit quantize` makes the C arrays, `doit list` says what else there is."""

from doit_tflm import doit_config, firmware_tasks, model_tasks

DOIT_CONFIG = doit_config()


def task_models():
    yield from model_tasks()


def task_firmware():
    yield from firmware_tasks()
