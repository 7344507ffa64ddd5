# SPDX-License-Identifier: Apache-2.0
"""Detections of recorded drives, without a running node: bag → snapshots → boxes in a file.

`recorded_rig` reads a bag as the node would hear it, `job` runs the detector on bags in shards,
`cli` is the command.
"""
