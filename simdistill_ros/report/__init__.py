# SPDX-License-Identifier: Apache-2.0
"""A replay as one web page that needs no network: numbers, charts and a viewer of the frames."""
