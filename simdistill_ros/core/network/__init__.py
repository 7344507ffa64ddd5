# SPDX-License-Identifier: Apache-2.0
"""The student network in plain PyTorch: six images in, head maps out.

Dimension letters, the same everywhere: `B` batch, `N` cameras, `C` channels, `H W` input pixels,
`Hf Wf` feature map, `D` depth bins, `X Y` BEV cells (row = x, column = y), `K` table entries.
"""
