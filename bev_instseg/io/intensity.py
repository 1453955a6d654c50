"""Judge intensities: whether they hold information about the objects, and which value is full."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SCALES = (1, 255, 4095, 65535)  # possible values of full intensity
MAX_EXCESS = 1.5  # intensities beyond this many times a scale do not fit it
MAX_OUTLIER_SHARE = 0.003  # this share of a sample of intensities may not fit the scale
COMMON = 0.7  # of the sweeps' scales in ascending order, the one at this place is used
MISSING = (-500.0, 1e5)  # values beyond, such as -9999 and 1e30, stand for missing ones
MIN_SAMPLE = 50  # fewer values say too little
MIN_REACH = 0.2  # intensities of 0..1 differ by more than this
DARK = 0.01  # no known sensor has only intensities below this share of full intensity
TINIEST = 1e-30  # smaller ones are whole numbers that were read as floats
MIN_CONSTANT_SHARE = 0.995  # this share of the intensities is the same if they are constant
# Mean squared step between neighbours by distance, as a share of twice the variance: 1 for
# unrelated values, 0.4 to 1 for real sensors, 1e-5 for a smooth function of the distance.
MAX_ROUGHNESS = 0.1

ZERO = "all intensities are 0: objects are recognised by their shape alone"
CONSTANT = "the intensities are all the same: replaced by 0"
NOT_NUMBERS = "no intensity is a usable number: replaced by 0"
TWO_VALUES = "the intensities have only two different values: replaced by 0"
NOT_FLOATS = "the intensities are whole numbers stored in the place of floats: replaced by 0"
VERY_DARK = (
    f"hardly any intensity is above {DARK:.0%} of full intensity, darker than any known sensor "
    "measures; --intensity sets full intensity"
)
DISTANCE = "the intensities depend on the distance alone, as in simulators: replaced by 0"


def judge_intensity(samples: Sequence[NDArray[np.float64]]) -> tuple[float, tuple[str, ...]]:
    """Decide which scale the intensities of a recording have, and whether they are usable.

    The scale is taken from sweeps brighter than most: dark sweeps also fit a smaller scale, and a
    single bright one may be from another recording.

    Args:
        samples: For each sweep (n, 2) intensity and distance from the sensor.

    Returns:
        The value of full intensity, 0 if the intensities hold no information, and what was assumed.
    """
    known = [sample[_is_known(sample[:, 0])] for sample in samples]
    values = np.concatenate([np.zeros(0), *(sample[:, 0] for sample in known)])
    if not len(values) and any(len(sample) for sample in samples):
        return 0.0, (NOT_NUMBERS,)
    if len(values) >= MIN_SAMPLE:
        usual = float(np.partition(values, len(values) // 2)[len(values) // 2])
        if np.mean(values == usual) >= MIN_CONSTANT_SHARE:
            return 0.0, (CONSTANT if usual else ZERO,)
        if np.abs(values).max() < TINIEST:
            return 0.0, (NOT_FLOATS,)
        if ((values == values.min()) | (values == values.max())).all():
            return 0.0, (TWO_VALUES,)
        enough = [sample for sample in known if len(sample) >= MIN_SAMPLE]
        if enough and all(_follows_from_distance(sample) for sample in enough):
            return 0.0, (DISTANCE,)
    needed = sorted(scale_of(sample[:, 0]) for sample in known if len(sample) >= MIN_SAMPLE)
    scale = needed[round(COMMON * (len(needed) - 1))] if needed else scale_of(values)
    notices: tuple[str, ...] = ()
    if scale > 1:
        notices = (f"intensity 0..{scale}: divided by {scale}",)
    bright = np.count_nonzero(values > DARK * scale) > MAX_OUTLIER_SHARE * len(values)
    if not bright and len(values) >= MIN_SAMPLE:
        notices += (VERY_DARK,)
    return float(scale), notices


def scale_of(values: NDArray[np.float64]) -> int:
    """Return the smallest of `SCALES` that intensities fit; whole numbers above 1 do not fit 1.

    Args:
        values: (n,) intensities of a sweep.
    """
    values = values[_is_known(values)]
    whole = len(values) >= MIN_SAMPLE and (values == np.rint(values)).all() and values.max() > 1
    scales = SCALES[1:] if whole else SCALES
    limit = MAX_OUTLIER_SHARE * len(values)
    fits = (full for full in scales if np.count_nonzero(values > MAX_EXCESS * full) <= limit)
    return next(fits, scales[-1])


def is_of_scale_1(values: NDArray[np.floating]) -> bool:
    """Return whether intensities are clearly in 0..1: very different fractions, none above 1.

    Args:
        values: (N,) intensities of a sweep.
    """
    if not len(values) or np.fmax.reduce(values) > 1:  # fast: NaN does not count
        return False
    known = values[_is_known(values)]
    fractions = np.count_nonzero(known != np.rint(known))
    return bool(fractions >= MIN_SAMPLE and np.ptp(known) > MIN_REACH)


def _is_known(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return (values > MISSING[0]) & (values < MISSING[1])  # not NaN


def _follows_from_distance(sample: NDArray[np.float64]) -> bool:
    values = sample[np.argsort(sample[:, 1]), 0]
    variance = np.var(values)
    return bool(np.mean(np.diff(values) ** 2) < MAX_ROUGHNESS * 2 * variance)
