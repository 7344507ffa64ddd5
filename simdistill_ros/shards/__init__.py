# SPDX-License-Identifier: Apache-2.0
"""Long work in shards: one process, several, or several machines, with the same result.

`ledger` keeps finished shards on disk, `meeting` is where machines find each other, `board` is how
shards are handed out there and results come back, `run` does the work and is what others call.
"""
