# SPDX-License-Identifier: Apache-2.0
"""`doctor`: looks at a live graph or a bag for ten seconds and names what keeps detections away.

Collect (`live`, `bag`, `recorder`) → `observations` → `checks` → `diagnosis` → report (`terminal`,
`pictures`, JSON). From `observations` on nothing knows ROS.
"""
