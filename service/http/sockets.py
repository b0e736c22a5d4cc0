"""What a server asks of its sockets, beneath its event loop, mostly in order to end without a reset.

The system resets every connection that a listening socket still holds when it is closed: those were made, as far as the
client can tell, and nobody has accepted them. So before it is closed, nothing new may begin, and what has begun must be
accepted.
"""

import contextlib
import ctypes
import math
import selectors
import socket
import struct
import sys

if sys.platform != "win32":
    import resource

# From <linux/filter.h> and <asm-generic/socket.h>; the module `socket` does not name it.
_SO_ATTACH_FILTER = 26
_TCP_FLAGS_OFFSET, _TCP_SYN = 13, 0x02
# The classic BPF of the four instructions below: code, jump if true, jump if false, operand.
_LOAD_BYTE, _JUMP_IF_BIT, _RETURN = 0x30, 0x45, 0x06
_DROP_SYN = (
    (_LOAD_BYTE, 0, 0, _TCP_FLAGS_OFFSET),
    (_JUMP_IF_BIT, 0, 1, _TCP_SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFFFFFF),
)

# On what no descriptor has to be opened for, and what knows no largest descriptor.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def begin_no_connection(listener: socket.socket) -> None:
    """Let no new handshake begin at *listener*, where the system can; those that have begun come to their end.

    A client whose first packet is dropped sends it again after a second, and is refused then if the socket is closed.
    """
    if not sys.platform.startswith("linux"):
        return
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(instructions))
    with contextlib.suppress(OSError):  # a sandbox may not have it; then a rare client is reset, and the end goes on
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def descriptor_limit() -> float:
    """Return how many descriptors this process may have, infinite where the system does not say."""
    if sys.platform == "win32":
        return math.inf
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit == resource.RLIM_INFINITY else limit


def is_readable(some_socket: socket.socket) -> bool:
    """Say whether bytes, the other side's end, or connections to accept wait at a socket now."""
    with _Selector() as selector:
        selector.register(some_socket.fileno(), selectors.EVENT_READ)
        return bool(selector.select(timeout=0))
