# SPDX-License-Identifier: Apache-2.0
"""What stands between a trained student and a vehicle: 8-bit graphs, and proof that paths agree."""
