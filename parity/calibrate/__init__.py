"""Tolerances from measurement: what honest arithmetic makes of each checkpoint, channel by channel."""

from parity.calibrate.calibration import Calibration, alignment_to_measure, calibrate
from parity.calibrate.precision import PRECISIONS, Precision

__all__ = ["PRECISIONS", "Calibration", "Precision", "alignment_to_measure", "calibrate"]
