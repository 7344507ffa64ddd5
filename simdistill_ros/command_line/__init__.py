# SPDX-License-Identifier: Apache-2.0
"""The manners of every command: help, quiet and JSON, colour, progress, errors, exit status.

`parser` makes argument parsers with the options that all commands share, `run` calls a command and
turns what it returns or raises into output and exit status, `terminal` knows what a terminal can
show, `completion` writes completion for shells.
"""
