# SPDX-License-Identifier: Apache-2.0
"""The options of commands that work in shards."""

from __future__ import annotations

import argparse

from simdistill_ros.shards.run import Sharing


def add_sharing_options(parser: argparse.ArgumentParser) -> None:
    """Add where machines meet and how many processes work on each."""
    parser.add_argument("--address", default="", metavar="HOST:PORT",
                        help="where machines meet: the same command on each of them")  # fmt: skip
    parser.add_argument("--processes", type=int, default=1, help="on this machine (default: 1)")


def sharing_of(arguments: argparse.Namespace, shard_size: int) -> Sharing:
    """Return who does the work, as the command line says."""
    return Sharing(arguments.address, arguments.processes, shard_size)
