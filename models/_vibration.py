"""The vibration of rotating machines: synthesised, and made into what a network is given of it.

The data are synthesised from the textbook signatures of the faults. Every window is another machine: its speed,
structure, mounting, process noise and mains hum are random, knocks come in from the machines around, and each
fault is anything from barely there to severe. For a machine of your own, let load() read recordings of it.

    healthy        a residual imbalance, as every rotor has, and traces of its multiples
    imbalance      more at the speed of the shaft, growing with its square
    misalignment   more at twice the speed, and at three times
    bearing        balls pass a pit in the outer race 3.585 times a turn (a 6205), almost evenly, and each time
                   the structure rings: above the noise or below it

Two specifications use it: vibration_monitoring.py and anomaly_detection.py.
"""

import numpy as np

FAULTS = ["healthy", "imbalance", "misalignment", "bearing"]
BALLS_PER_TURN = 3.585  # pass a point of the outer race of a 6205 bearing
SAMPLE_RATE_HZ = 6667  # a common rate of MEMS accelerometers
FRAME_LENGTH = 1024  # samples: 154 ms, long enough to tell the speed of a slow shaft from its double
FRAME_STEP = 128
FRAMES = 49
BANDS = 20
LOWEST_BAND_HZ, HIGHEST_BAND_HZ = 20.0, 3000.0
FLOOR_DB, RANGE_DB = -90.0, 80.0  # relative to 1 g; the range is mapped to 0..1

# What firmware needs to compute the features.
PARAMETERS = {
    "sample_rate_hz": SAMPLE_RATE_HZ,
    "frame_length": FRAME_LENGTH,
    "frame_step": FRAME_STEP,
    "lowest_band_hz": LOWEST_BAND_HZ,
    "highest_band_hz": HIGHEST_BAND_HZ,
    "floor_db": FLOOR_DB,
    "range_db": RANGE_DB,
}


def vibration(fault: str, rng: np.random.Generator) -> np.ndarray:
    """Return a second of acceleration, in g, of a random machine that has a fault."""

    def wave(cycles):
        return np.sin(2 * np.pi * (cycles + rng.uniform()))

    t = np.arange(FRAME_LENGTH + (FRAMES - 1) * FRAME_STEP + 2) / SAMPLE_RATE_HZ  # the envelope takes two more
    severity = rng.uniform()  # 0: barely there, 1: severe

    # The shaft turns 20 to 50 times a second, wanders a little, and shakes at multiples of its speed.
    speed_hz = rng.uniform(20, 50)
    wander = rng.uniform(0, 0.01) * wave(rng.uniform(0.2, 2) * t)
    turns = np.cumsum(speed_hz * (1 + wander)) / SAMPLE_RATE_HZ
    once = 0.05 * (speed_hz / 35) ** 2 * rng.uniform(0.3, 1)
    twice = once * rng.uniform(0.1, 0.4)
    thrice = once * rng.uniform(0.05, 0.2)
    if fault == "imbalance":
        once *= 3 + 5 * severity
    if fault == "misalignment":
        twice += once * (0.6 + severity)
        thrice += once * (0.2 + 0.5 * severity) * rng.uniform()
    shaft = once * wave(turns) + twice * wave(2 * turns) + thrice * wave(3 * turns)

    # The structure rings when it is hit: by the noise of the process, a few knocks, the balls of a bad bearing.
    hits = rng.normal(0, 0.02 * 10 ** rng.uniform(-1, 0), len(t))
    for _ in range(rng.poisson(2)):
        hits[rng.integers(len(t))] += rng.uniform(0.1, 0.5)
    if fault == "bearing":
        balls = BALLS_PER_TURN * turns + np.cumsum(rng.normal(0, 1e-3, len(t)))
        passes = np.flatnonzero(np.diff(np.floor(balls)))
        hits[passes] += (0.04 + 0.2 * severity) * rng.uniform(0.7, 1.3, len(passes))
    ring = np.exp(-t / rng.uniform(0.5e-3, 2e-3)) * wave(rng.uniform(1000, 2800) * t)
    structure = np.convolve(hits, ring[:100])[: len(t)]

    hum = rng.uniform(0, 0.005) * wave(100 * t)  # twice the frequency of the mains
    mounting = 10 ** rng.uniform(-0.1, 0.1)
    return mounting * (shaft + structure + hum) + rng.normal(0, 0.002, len(t))


def log_spectrogram(signal: np.ndarray) -> np.ndarray:
    """Return the level (49, 20) of each band in each frame, 0 to 1."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME_LENGTH)[::FRAME_STEP]
    spectrum = np.fft.rfft(frames * np.hanning(FRAME_LENGTH)) / FRAME_LENGTH

    # Triangular bands, each from the centre of the one below to the centre of the one above.
    pitch = np.log(np.fft.rfftfreq(FRAME_LENGTH, 1 / SAMPLE_RATE_HZ)[1:])
    centres = np.linspace(np.log(LOWEST_BAND_HZ), np.log(HIGHEST_BAND_HZ), BANDS)
    bands = np.maximum(0, 1 - np.abs(pitch[:, None] - centres) / (centres[1] - centres[0]))

    level_db = 10 * np.log10(np.abs(spectrum[:, 1:]) ** 2 @ bands + 1e-12)
    return np.clip((level_db - FLOOR_DB) / RANGE_DB, 0, 1)


def features(acceleration: np.ndarray) -> np.ndarray:
    """Return the level (49, 20, 2) of both channels; firmware computes the same."""
    envelope = np.abs(np.diff(acceleration, n=2))  # a high-pass filter and a rectifier
    channels = [log_spectrogram(acceleration[2:]), log_spectrogram(envelope)]
    return np.stack(channels, axis=-1).astype(np.float32)
