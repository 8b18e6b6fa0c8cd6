"""Notice at once that one of several processes has ended, and end the others with a sentence.

JAX notices it after 100 seconds, and then aborts with a stack of C++. Here every process keeps a connection to
process 0 open. The operating system closes it when the process ends, however it ends. A process that ends as planned
says so before, and so does one that a signal stops while the others go on.

If process 0 is lost, JAX's own threads notice that too and abort the process. `_delay_abort` gives the watch the time
to end it first.
"""

import atexit
import contextlib
import ctypes
import os
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

PATIENCE = 2.0
"""Seconds within which the connection of a lost host is closed, or others have noticed the same error."""
TOKEN, PORT, NAME = 16, 2, 230
"""Bytes of the secret of a run, of the port of process 0, and of its name."""
GOODBYE, LOST, STOPPED = b"bye!", b"lost", b"stop"
"""Kinds of messages: a planned end, a process that is gone, and one that a signal has stopped."""


class Message(NamedTuple):
    """What processes tell each other when one of them ends."""

    kind: bytes
    index: int = 0
    """The process that has ended."""
    code: int = 1
    """Its exit code."""

    def encode(self) -> bytes:
        """Return the bytes of the message."""
        return _FORMAT.pack(*self)


_FORMAT = struct.Struct("!4sII")


class _State:
    """What this process knows of the others."""

    peers: dict[int, socket.socket] = {}
    """Index -> connection: those of all others on process 0, that of process 0 on the others."""
    is_ending = False
    """Whether this process ends already for a reason of its own, so that the end of others is no news."""


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
        name = ",".join(_own_names()).encode()[:NAME].ljust(NAME, b"\0")
        own = secrets.token_bytes(TOKEN) + server.getsockname()[1].to_bytes(PORT, "big") + name
        own = np.frombuffer(own, np.uint8)
    sys.excepthook = _end_after(sys.excepthook)
    _delay_abort()
    shared = np.asarray(multihost_utils.broadcast_one_to_all(own)).astype(np.uint8).tobytes()
    token, port, name = shared[:TOKEN], shared[TOKEN : TOKEN + PORT], shared[TOKEN + PORT :].rstrip(b"\0")
    atexit.register(_say_goodbye)
    if server is not None:
        _in_background(_accept, server, token)
        return
    names = [coordinator.rpartition(":")[0].strip("[]")] if coordinator else name.decode().split(",")
    _connect(names, int.from_bytes(port, "big"), token)


def _own_names() -> list[str]:
    """Return names by which others may reach this computer: its name, and the address of its usual route."""
    names = [socket.gethostname()]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("10.255.255.255", 1))  # this sends nothing
        names.append(probe.getsockname()[0])
    return names


def announce(code: int) -> None:
    """Tell the other processes that a signal stops this one now. Without others this does nothing.

    Args:
        code: exit code of this process, which the others take too.
    """
    _State.is_ending = True
    for peer in list(_State.peers.values()):
        _send(peer, Message(STOPPED, jax.process_index(), code))


def end_with_error(code: int) -> NoReturn:
    """End one of several processes after its error has been printed; the others then end, too.

    It waits until they have printed theirs, if they have the same error. The usual end of Python would wait for them
    for minutes, while they wait for this one.
    """
    _State.is_ending = True
    time.sleep(PATIENCE)
    _flush()
    os._exit(code)


def _accept(server: socket.socket, token: bytes) -> None:
    """Accept the connections of all other processes, and wait for each in a thread of its own."""
    while len(_State.peers) < jax.process_count() - 1:
        connection, _ = server.accept()
        connection.settimeout(10)
        try:
            greeting = _receive(connection, len(token) + 4)
        except OSError:
            greeting = b""
        if greeting[: len(token)] != token or len(greeting) < len(token) + 4:
            connection.close()
            continue
        _keep_alive(connection)
        index = int.from_bytes(greeting[len(token) :], "big")
        _State.peers[index] = connection
        _in_background(_wait, index, connection)


def _connect(names: list[str], port: int, token: bytes) -> None:
    """Connect to process 0, and end this process when that connection ends or process 0 names a lost one."""
    for name in names:
        try:
            connection = socket.create_connection((name, port), timeout=10)
            connection.sendall(token + jax.process_index().to_bytes(4, "big"))
        except OSError as error:
            reason = error
            continue
        _keep_alive(connection)
        _State.peers[0] = connection
        _in_background(_wait, 0, connection)
        return
    print(f"process 0 cannot be watched ({reason}): its end is noticed after 100 s only", file=sys.stderr)


def _wait(index: int, connection: socket.socket) -> None:
    """Wait for the last message of a process, and end this one unless it is a goodbye."""
    content = _receive(connection, _FORMAT.size)
    message = Message(*_FORMAT.unpack(content)) if content else Message(LOST, index)
    if message.kind == GOODBYE or _State.is_ending:
        return
    if jax.process_index() == 0:  # the others hear of each other by process 0
        for other, peer in list(_State.peers.items()):
            if other != index:
                _send(peer, message)
    end(message)


def end(message: Message) -> None:
    """End this process, whose computation waits for another one for ever, with one sentence."""
    reason = "has ended before the others"
    if message.kind == STOPPED:
        reason = f"was stopped by {_name_signal(message.code)}"
    sentence = (
        f"host {message.index} of {jax.process_count()} {reason}, so host {jax.process_index()} ends too; start all "
        f"of them again with --resume to go on from the last checkpoint\n"
    )
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.write(sentence)  # one call: the main thread may print its own error at the same time
        sys.stderr.flush()
    os._exit(message.code)  # the main thread waits inside a collective operation and cannot raise


def _name_signal(code: int) -> str:
    """Return the name of the signal of an exit code."""
    try:
        return signal.Signals(code - 128).name
    except ValueError:
        return "an error of its output"


def _say_goodbye() -> None:
    for peer in _State.peers.values():
        _send(peer, Message(GOODBYE))


def _end_after(report: Callable[..., Any]) -> Callable[..., Any]:
    """Return a hook that waits before it reports an error, and then ends the process.

    A lost host breaks collectives before it is noticed here.
    """

    def hook(*error: Any) -> None:
        time.sleep(PATIENCE)
        _State.is_ending = True
        report(*error)
        _flush()
        os._exit(1)

    return hook


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _delay_abort() -> None:
    """Let a thread of C++ that aborts this process sleep for some seconds first.

    The handler of SIGABRT is the function `sleep` of the C library, whose argument is the number of the signal: 6
    seconds. POSIX allows it in a handler.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
        library.signal.restype = ctypes.c_void_p
        library.signal(int(signal.SIGABRT), ctypes.cast(library.sleep, ctypes.c_void_p))


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


def _send(connection: socket.socket, message: Message) -> None:
    with contextlib.suppress(OSError):  # that process has ended already
        connection.sendall(message.encode())


def _keep_alive(connection: socket.socket) -> None:
    """Notice within half a minute a computer that lost its power, from which no message comes."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _in_background(function: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=function, args=arguments, daemon=True).start()
