# SPDX-License-Identifier: Apache-2.0
"""Faults that a replay plants into the stream of messages: what a hostile day does to cameras.

Every fault is a pure function of a message stream and a seed. Streams are `BagMessage`s in order of
log time, which is the time of delivery; a fault returns such a stream again, so faults can be
chained. What happens to a message depends on the seed, its topic and its own time alone, not on
what else is planted.
"""
