# SPDX-License-Identifier: Apache-2.0
"""From a nuScenes-format dataroot to batches: tables → index → samples → augmentation → batch."""
