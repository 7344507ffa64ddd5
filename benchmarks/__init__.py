# SPDX-License-Identifier: Apache-2.0
"""Measurements of speed; `python -m benchmarks` runs them all and rewrites benchmarks/README.md."""
