# SPDX-License-Identifier: Apache-2.0
"""Boxes drawn on pictures: into camera images, from above, and six cameras in one. No ROS."""
