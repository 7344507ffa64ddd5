# SPDX-License-Identifier: Apache-2.0
"""The commands of `simdistill` but for those of `convert` and `deploy`: arguments, what to call."""
