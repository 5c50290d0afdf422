"""Tests run on the CPU, where results repeat to the bit; those marked ``gpu`` see the GPU."""

from __future__ import annotations

import os
import sys

# Before TensorFlow is imported by any test, and for the processes that tests start.
if not any("gpu" in argument for argument in sys.argv):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
