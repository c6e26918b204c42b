"""``AudioFeatureGeneratorSettings``: the settings of MLTK's audio front end, for the model's parameters."""

from __future__ import annotations

import copy
from typing import Any

from doit_tflm.errors import UserError, did_you_mean

__all__ = ["AudioFeatureGeneratorSettings"]

_PREFIX = "fe."
_DEFAULTS: dict[str, Any] = {
    "sample_rate_hz": 16000,
    "sample_length_ms": 1000,
    "window_size_ms": 25,
    "window_step_ms": 10,
    "filterbank_n_channels": 32,
    "filterbank_upper_band_limit": 7500.0,
    "filterbank_lower_band_limit": 125.0,
    "noise_reduction_enable": False,
    "noise_reduction_smoothing_bits": 10,
    "noise_reduction_even_smoothing": 0.025,
    "noise_reduction_odd_smoothing": 0.06,
    "noise_reduction_min_signal_remaining": 0.05,
    "pcan_enable": False,
    "pcan_strength": 0.95,
    "pcan_offset": 80.0,
    "pcan_gain_bits": 21,
    "log_scale_enable": True,
    "log_scale_shift": 6,
    "activity_detection_enable": False,
    "activity_detection_alpha_a": 0.5,
    "activity_detection_alpha_b": 0.8,
    "activity_detection_arm_threshold": 0.75,
    "activity_detection_trip_threshold": 0.8,
    "dc_notch_filter_enable": False,
    "dc_notch_filter_coefficient": 0.95,
    "quantize_dynamic_scale_enable": False,
    "quantize_dynamic_scale_range_db": 40.0,
}
_POSITIVE = ("sample_rate_hz", "sample_length_ms", "window_size_ms", "window_step_ms", "filterbank_n_channels")


class AudioFeatureGeneratorSettings(dict[str, Any]):
    """The settings, as attributes; as a dict, the entries that a device reads: ``fe.sample_rate_hz`` and so on.

    Raises
    ------
    UserError
        When an unknown one is set, or one that must be positive is not.
    """

    def __init__(self, **values: Any) -> None:
        super().__init__()
        for name, default in _DEFAULTS.items():
            setattr(self, name, default)
        self.update(values)

    def __getattr__(self, name: str) -> Any:
        """Return a setting."""
        if name in _DEFAULTS or name == "fft_length":
            return self[_PREFIX + name]
        raise AttributeError(f"AudioFeatureGeneratorSettings has no setting {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Check and set a setting; it becomes a number of its default's type, as in MLTK."""
        if name not in _DEFAULTS:
            fix = did_you_mean(name, _DEFAULTS, f"use {', '.join(_DEFAULTS)}")
            raise UserError(f"AudioFeatureGeneratorSettings has no setting {name!r}", fix=fix)
        number = type(_DEFAULTS[name])(value)
        if name in _POSITIVE and not 0 < number <= 10_000_000:
            raise UserError(f"{name} is {value!r}", fix="use a whole number above 0")
        self[_PREFIX + name] = number
        if name in ("sample_rate_hz", "window_size_ms") and f"{_PREFIX}window_size_ms" in self:
            window = self.window_size_ms * self.sample_rate_hz // 1000
            # The smallest power of two that the window fits in.
            self[f"{_PREFIX}fft_length"] = 1 << max(window - 1, 0).bit_length()

    @property
    def sample_length(self) -> int:
        """The number of audio samples."""
        return int(self.sample_length_ms * self.sample_rate_hz) // 1000

    @property
    def spectrogram_shape(self) -> tuple[int, int]:
        """The number of windows, and of the filter bank's channels."""
        window, step = (int(ms * self.sample_rate_hz) // 1000 for ms in (self.window_size_ms, self.window_step_ms))
        return (self.sample_length - window) // step + 1, self.filterbank_n_channels

    def copy(self) -> AudioFeatureGeneratorSettings:
        """Return a copy."""
        return copy.copy(self)

    def __copy__(self) -> AudioFeatureGeneratorSettings:
        return AudioFeatureGeneratorSettings(**self)
