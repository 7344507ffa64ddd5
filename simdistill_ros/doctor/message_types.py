# SPDX-License-Identifier: Apache-2.0
"""The message classes that doctor can read, by interface name."""

from __future__ import annotations

from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from simdistill_ros.doctor.observations import (
    CLOCK_TYPE,
    COMPRESSED_TYPE,
    INFO_TYPE,
    RAW_TYPE,
    TF_TYPE,
)

MESSAGE_CLASSES = {
    COMPRESSED_TYPE: CompressedImage,
    RAW_TYPE: Image,
    INFO_TYPE: CameraInfo,
    TF_TYPE: TFMessage,
    CLOCK_TYPE: Clock,
}
