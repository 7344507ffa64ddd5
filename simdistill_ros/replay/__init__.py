# SPDX-License-Identifier: Apache-2.0
"""Replay of nuScenes data through the detector node, and the score of what it published."""
