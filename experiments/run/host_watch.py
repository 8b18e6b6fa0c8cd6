"""Notice at once that one of several processes has ended, and end the others with a sentence.

JAX notices it after 100 seconds, and then aborts with a stack of C++. Here every process keeps a connection to
process 0 open. The operating system closes it when the process ends, however it ends. A process that ends as planned
says so before.
"""

import atexit
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

GOODBYE = b"bye!"
PATIENCE = 2.0
"""Seconds within which the connection of a lost host is closed."""
TOKEN, PORT, NAME = 16, 2, 230
"""Bytes of the secret of a run, of the port of process 0, and of its name."""


def watch_hosts(coordinator: str | None) -> None:
    """Connect all processes; every process of a run has to call this. Without connection, JAX's own timeout counts.

    Args:
        coordinator: address and port of process 0, by which the others reach it; None takes the name of its computer.
    """
    if jax.process_count() == 1:
        return
    server, own = None, np.zeros(TOKEN + PORT + NAME, np.uint8)
    if jax.process_index() == 0:
        server = socket.create_server(("", 0), backlog=jax.process_count())
        name = socket.gethostname().encode()[:NAME].ljust(NAME, b"\0")
        own = secrets.token_bytes(TOKEN) + server.getsockname()[1].to_bytes(PORT, "big") + name
        own = np.frombuffer(own, np.uint8)
    sys.excepthook = _wait_before(sys.excepthook)
    shared = np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
    token, port, name = shared[:TOKEN], shared[TOKEN : TOKEN + PORT], shared[TOKEN + PORT :].rstrip(b"\0")
    if server is not None:
        _in_background(_Server(server, token).serve)
        return
    host = coordinator.rpartition(":")[0].strip("[]") if coordinator else name.decode()
    _connect(host, int.from_bytes(port, "big"), token)


class _Server:
    """The connections of process 0."""

    def __init__(self, server: socket.socket, token: bytes) -> None:
        self._server, self._token = server, token
        self._others: dict[int, socket.socket] = {}
        atexit.register(self._say_goodbye)

    def serve(self) -> None:
        """Accept the connections of all other processes, and wait for each in a thread of its own."""
        while len(self._others) < jax.process_count() - 1:
            connection, _ = self._server.accept()
            connection.settimeout(10)
            try:
                greeting = _receive(connection, len(self._token) + 4)
            except OSError:
                greeting = b""
            if greeting[: len(self._token)] != self._token or len(greeting) < len(self._token) + 4:
                connection.close()
                continue
            _keep_alive(connection)
            index = int.from_bytes(greeting[len(self._token) :], "big")
            self._others[index] = connection
            _in_background(self._wait, index, connection)

    def _wait(self, index: int, connection: socket.socket) -> None:
        if not _says_goodbye(connection):
            for other, peer in list(self._others.items()):
                if other != index:
                    _send(peer, index.to_bytes(4, "big"))
            end(index)

    def _say_goodbye(self) -> None:
        for peer in self._others.values():
            if not _has_failed():
                _send(peer, GOODBYE)


def _wait_before(report: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that waits before it reports an error: a lost host breaks collectives before it is noticed here."""

    def hook(*error: Any) -> Any:
        time.sleep(PATIENCE)
        return report(*error)

    return hook


def _connect(host: str, port: int, token: bytes) -> None:
    """Connect to process 0, and end this process when that connection ends or process 0 names a lost one."""
    try:
        connection = socket.create_connection((host, port), timeout=10)
        connection.sendall(token + jax.process_index().to_bytes(4, "big"))
    except OSError as error:
        print(f"process 0 cannot be watched ({error}): its end is noticed after 100 s only", file=sys.stderr)
        return
    _keep_alive(connection)
    atexit.register(lambda: None if _has_failed() else _send(connection, GOODBYE))
    _in_background(_wait_for_first, connection)


def _wait_for_first(connection: socket.socket) -> None:
    message = _receive(connection, 4)
    if message != GOODBYE:
        end(int.from_bytes(message, "big") if message else 0)


def end(index: int) -> None:
    """End this process, whose computation waits for process `index` for ever, with one sentence."""
    sys.stdout.flush()
    sentence = (
        f"host {index} of {jax.process_count()} has ended before the others, so host {jax.process_index()} ends "
        f"too; start all of them again with --resume to go on from the last checkpoint\n"
    )
    sys.stderr.write(sentence)  # one call: the main thread may print its own error at the same time
    sys.stderr.flush()
    os._exit(1)  # the main thread waits inside a collective operation and cannot raise


def _says_goodbye(connection: socket.socket) -> bool:
    return _receive(connection, len(GOODBYE)) == GOODBYE


def _receive(connection: socket.socket, length: int) -> bytes:
    """Return the next bytes, b"" if the other side is gone."""
    message = b""
    try:
        while len(message) < length:
            part = connection.recv(length - len(message))
            if not part:
                return b""
            message += part
    except OSError:
        return b""
    return message


def _send(connection: socket.socket, message: bytes) -> None:
    try:
        connection.sendall(message)
    except OSError:
        return  # that process has ended already


def _keep_alive(connection: socket.socket) -> None:
    """Notice within half a minute a computer that lost its power, from which no message comes."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _has_failed() -> bool:
    """Return whether this process ends with an error of Python."""
    return getattr(sys, "last_value", None) is not None


def _in_background(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
