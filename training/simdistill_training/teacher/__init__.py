# SPDX-License-Identifier: Apache-2.0
"""The teacher: a detector on LiDAR and cameras that the student learns from.

It is trained first and frozen ever after. Dimension letters are those of `core/network`, and `P`
points, `V` voxels.
"""
