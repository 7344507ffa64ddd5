# SPDX-License-Identifier: Apache-2.0
"""The checks: each a pure function of what was seen; `registry` lists them all."""
