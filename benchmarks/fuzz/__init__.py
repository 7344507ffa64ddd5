# SPDX-License-Identifier: Apache-2.0
"""Mutated messages and model packages into the functions that the node uses.

Every case is made from a seed and its number, so a finding is repeated by naming both. A case is
good when the input is used or refused with the documented exception, within the time bound, and
when nothing is accepted that the case's own oracle says must be refused.
"""
