# SPDX-License-Identifier: Apache-2.0
"""Camera-only 3D object detection for ROS 2: the SimDistill student as a lifecycle node.

Importing this package imports nothing else; open `core/snapshot.py` first.
"""

__version__ = "0.1.0"
