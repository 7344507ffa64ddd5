# SPDX-License-Identifier: Apache-2.0
"""Training of the camera-only student: data, teacher, distillation, evaluation, conversion.

Never installed on the vehicle. It uses `simdistill_ros.core` for everything that the vehicle runs
too: calibration, preprocessing, the network, decoding and the model card.
"""

__version__ = "0.1.0"
