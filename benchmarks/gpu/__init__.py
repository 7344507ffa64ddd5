# SPDX-License-Identifier: Apache-2.0
"""What `make gpu` runs: checks and measurements of the CUDA path; needs torch, numpy and opencv."""
