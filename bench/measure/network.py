"""The network that a run has for itself, and how its receivers acknowledge.

Linux takes a receiver that has just sent something for an interactive one ("pingpong"): it no longer acknowledges when
it reads, but late, and what comes every 33 ms keeps it so for ever. Each second frame then makes the kernel acknowledge
in the midst of the server's own write, on the server's core. A player that waits long enough for its first frame leaves
that state, and acknowledges on its own core from then on. So the same load costs a server that answers at once more
than one that lets players wait, as the floor does. Ratios need equal conditions: they are set, not left to chance.
"""
import ctypes
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from .doors import DOORS

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
LIBC = ctypes.CDLL(None, use_errno=True)

# How many times a receiver must have sent something to count as interactive: a setting of each namespace, which the
# kernel asks anew with every packet. 255 is its greatest: no player sends as much.
PINGPONG = Path("/proc/sys/net/ipv4/tcp_pingpong_thresh")
ALIKE = 255
# The cases with players. In the others the server is who receives, and all of them are in the same condition anyway.
PLAYED = ("fanout", "join", "shards", "overload", *DOORS)


@dataclass(frozen=True)
class Network:
    """Where packets go. Only in a namespace of its own does a run change settings."""

    is_own: bool
    default: Optional[int] = None  # the kernel's own threshold, where it is known and may be changed
    note: str = ""  # what could not be had, and why

    @property
    def is_alike(self):
        """Whether all receivers can be made to acknowledge in the same way."""
        return self.default is not None

    def arrange(self, kind):
        """Sets how receivers acknowledge in a case of this kind; before its first connection."""
        if self.is_alike:
            PINGPONG.write_text(str(ALIKE if kind in PLAYED else self.default))

    def description(self):
        """What a report says about it."""
        return {"is_own": self.is_own, "default": self.default, "alike": ALIKE if self.is_alike else None,
                "note": self.note}


def enter():
    """Moves this process, and all that it starts from now on, to a network of its own; where it may not, it stays."""
    try:
        unshare()
    except OSError as error:
        return Network(False, note=f"no network of its own: {error.strerror}")
    try:
        default = int(PINGPONG.read_text())
        PINGPONG.write_text(str(ALIKE))
    except OSError as error:
        return Network(True, note=f"{PINGPONG.name} cannot be set: {error.strerror}")
    return Network(True, default)


def unshare():
    """A new namespace, with a loopback interface that is up; back to the old one where that fails half-way."""
    with open("/proc/self/ns/net") as old:
        call(LIBC.unshare, CLONE_NEWNET)
        try:
            bring_up("lo")
        except OSError:
            call(LIBC.setns, old.fileno(), CLONE_NEWNET)
            raise


def call(function, *arguments):
    """A system call of the C library; its error as an exception."""
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def bring_up(interface):
    """As `ip link set INTERFACE up`, which is not everywhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        flags = struct.unpack_from("16sh", fcntl.ioctl(s, SIOCGIFFLAGS, request(interface, 0)))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, request(interface, flags | IFF_UP))


def request(interface, flags):
    """The kernel's `struct ifreq`."""
    return struct.pack("16sh22x", interface.encode(), flags)
