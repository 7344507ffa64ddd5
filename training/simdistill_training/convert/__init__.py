# SPDX-License-Identifier: Apache-2.0
"""Published weights → weights of this project, with an account of every key."""
