# SPDX-License-Identifier: Apache-2.0
"""The detector without ROS: value types, geometry, synchronisation, network, decoding."""
