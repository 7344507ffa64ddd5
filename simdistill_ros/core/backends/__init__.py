# SPDX-License-Identifier: Apache-2.0
"""What runs the network: one module a vendor library, imported only when asked for."""
