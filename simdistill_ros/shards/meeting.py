# SPDX-License-Identifier: Apache-2.0
"""Where machines meet: the key-value store of torch.distributed, which torchrun's rendezvous uses.

Whoever can listen on the address is the coordinator, everybody else joins. Under torchrun its own
store is used and rank 0 coordinates. Values are bytes that are never run or unpickled, but nobody
is asked who they are: meet on a network that you trust.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

CONNECT_S = 60.0
ANSWER_S = 60.0
LOCAL_HOST = "127.0.0.1"


class MeetingError(ValueError):
    """Machines cannot meet at the address; the message names it and the fix."""


class Store(Protocol):
    """What is used of a torch.distributed store."""

    def set(self, key: str, value: Any) -> None:
        """Write a value."""

    def get(self, key: str) -> bytes:
        """Return a value; waits for one that is not there."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter and return its new value, in one step."""

    def check(self, keys: list[str]) -> bool:
        """Tell whether all keys are there."""


@dataclass(frozen=True)
class Address:
    """Host and port; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return HOST:PORT."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Meeting:
    """An open store, where it is, and whether this process coordinates."""

    store: Store
    address: Address
    is_coordinator: bool
    prefix: str = ""


def parse_address(text: str) -> Address:
    """Return the address that a text HOST:PORT names.

    Raises:
        MeetingError: If it names none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise MeetingError(f"--address: expected HOST:PORT, such as node1:29400, got {text!r}")
    return Address(host.strip("[]"), int(port))


def meet(address: Address | None) -> Meeting:
    """Listen on the address, or join who listens there already.

    Args:
        address: None: torchrun's, or any free port of this machine alone.

    Raises:
        MeetingError: If nobody can be reached.
    """
    if address is None and "TORCHELASTIC_RUN_ID" in os.environ:
        return _meet_under_torchrun()
    wanted = address or Address(LOCAL_HOST, 0)
    listener = _listen(wanted)
    if listener is None:
        return Meeting(join(wanted), wanted, is_coordinator=False)
    found = Address(wanted.host, int(listener.getsockname()[1]))
    return Meeting(_serve(listener, found), found, is_coordinator=True)


def join(address: Address, prefix: str = "") -> Store:
    """Return the store at an address.

    Raises:
        MeetingError: If nobody listens there.
    """
    from torch.distributed import (  # type: ignore[attr-defined]
        DistNetworkError,
        PrefixStore,
        TCPStore,
    )

    _wait_for_listener(address)
    try:
        store = TCPStore(
            address.host, address.port, is_master=False, timeout=timedelta(seconds=ANSWER_S)
        )
    except DistNetworkError as error:
        raise MeetingError(
            f"{address}: something listens there, but it is not this command ({error})"
        ) from None
    found: Store = PrefixStore(prefix, store) if prefix else store
    return found


def connection_errors() -> type[Exception]:
    """Return what a store raises when whoever serves it has gone."""
    from torch.distributed import DistError

    return DistError


def _listen(address: Address) -> socket.socket | None:
    """Return a socket bound to the address; None if it is another machine's, or taken."""
    try:
        family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[
            0
        ]
    except OSError as error:
        raise MeetingError(f"{address}: no such host ({error})") from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(place)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            return None
        raise MeetingError(f"{address}: cannot listen there: {error}") from None
    return listener


def _serve(listener: socket.socket, address: Address) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    return TCPStore(
        address.host,
        address.port,
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=ANSWER_S),
        master_listen_fd=listener.detach(),
    )


def _wait_for_listener(address: Address) -> None:
    end_s = time.monotonic() + CONNECT_S
    while True:
        try:
            socket.create_connection((address.host, address.port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end_s:
                raise MeetingError(
                    f"{address}: nobody listens there ({error}); start the command on "
                    f"{address.host} too, and let its port {address.port} through the firewall"
                ) from None
        time.sleep(0.5)


def _meet_under_torchrun() -> Meeting:
    # The agent serves a store of its own; each restart of its workers begins anew.
    address = Address(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    prefix = f"shards-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    is_first = os.environ["RANK"] == "0"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" or not is_first:
        return Meeting(join(address, prefix), address, is_first, prefix)
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    listener = _listen(address)
    if listener is None:
        raise MeetingError(f"{address}: torchrun's address is taken; choose another --master-port")
    store: Store = PrefixStore(prefix, _serve(listener, address))
    return Meeting(store, address, is_first, prefix)
