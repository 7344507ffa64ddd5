# SPDX-License-Identifier: Apache-2.0
"""Generator of driving scenes in nuScenes format, for machines without nuScenes.

Towns, traffic and light are drawn from seeds, ray-cast into six cameras and one LiDAR, and written
as a complete
nuScenes dataroot. Reading order: `config`, `rig`, `catalogue`, `town`, `traffic`, `world`,
`render`, `lidar`,
`recorder`, `tables`, `generate`. Nothing here imports ROS or a learning library.
"""
