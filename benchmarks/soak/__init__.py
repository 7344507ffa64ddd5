# SPDX-License-Identifier: Apache-2.0
"""A node under faults for as long as is asked: every image accounted for, memory flat."""
