"""libstreamengine for Python: an RTMP engine inside your program.

One file, on ctypes, without dependencies; Python 3.8 or later. It looks for the library in
``$STREAMENGINE_LIBRARY`` (a file), beside this file, and where the system keeps its libraries.

    with Engine() as engine:
        listener = engine.listen_rtmp("127.0.0.1:0")
        print("serving at port", listener.port)
        for event in engine.events():
            print(event)

What a call does, how long it may block and which errors it has is told in ``streamengine.h``. Here is only
what differs:

* A call that fails raises :class:`Error`, with the code and the text. "Nothing yet" is no error but ``None``.
* ``Engine``, ``Publisher``, ``Subscriber`` and ``Frame`` have ``close()`` and are context managers; whatever was not
  closed is closed when it is collected, or when the interpreter exits.
* Events are fetched: in a loop (:meth:`Engine.events`), in asyncio (:meth:`Engine.events_async`), or in any event loop
  that watches :meth:`Engine.fileno`. Ctrl-C interrupts all of these.
* The callbacks that there are (frames, requests, log) run on a thread of the library. An exception that leaves one is
  given to ``sys.unraisablehook``.
* Any thread may call anything, also close what others use: calls that are under way are carried out, those that come
  too late raise :class:`Error` with ``Status.CLOSED``.
* In a child of ``os.fork`` what the parent has made raises :class:`Error` with ``Status.STATE``, and closing it does
  nothing; a ``Config`` stays usable, and the child may make engines of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import ctypes.util
import enum
import itertools
import json as json_
import os
import select
import sys
import threading
import time
import types
import weakref
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint8, c_uint16
from ctypes import c_uint32, c_uint64, c_void_p, sizeof
from dataclasses import dataclass
from pathlib import Path
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional, Union

__all__ = [
    "AuthAction", "AuthInfo", "AuthRequest", "Codec", "Config", "Door", "Engine", "EngineStats", "Error", "Event",
    "EventType", "FileState", "FileStatus", "Format", "Frame", "FrameFlags", "KickWho", "Listener", "LogLevel",
    "LogRecord", "Publisher", "RelayDirection", "RelayState", "RelayStatus", "StatsFlags", "Status", "StreamState",
    "StreamStats", "Subscriber", "build_info", "set_log", "set_log_filter", "version",
]

TIME_UNSET = -(2**63)


# --- numbers of the header ------------------------------------------------------------------------------------------

class _Open(enum.IntEnum):
    """Numbers that newer libraries may add to: an unknown one is an enum member too, named after its number."""

    @classmethod
    def _missing_(cls, value: object) -> Any:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member


class Status(_Open):
    """What a call came to."""

    OK = 0
    INVALID_ARGUMENT = -1
    STATE = -2
    NOT_FOUND = -3
    EXISTS = -4
    UNSUPPORTED = -5
    CLOSED = -6
    AGAIN = -7
    TIMEOUT = -8
    LIMIT = -9
    DEADLOCK = -10
    IO = -20
    ADDRESS_IN_USE = -21
    PERMISSION = -22
    NO_MEMORY = -23
    RESOLVE = -30
    REFUSED = -31
    RESET = -32
    TLS = -33
    PROTOCOL = -40
    REJECTED = -41
    AUTH = -42
    FORMAT = -43
    INTERNAL = -99
    PANIC = -100


class Codec(_Open):
    """How the payload of a frame is coded."""

    NONE = 0
    H264 = 1
    HEVC = 2
    AV1 = 3
    VP9 = 4
    VP8 = 5
    VVC = 6
    AAC = 64
    MP3 = 65
    OPUS = 66
    FLAC = 67
    AC3 = 68
    EAC3 = 69
    PCM_ALAW = 70
    PCM_MULAW = 71
    DATA = 128


class Format(_Open):
    """The form in which the bytes of a frame are."""

    NATIVE = 0
    ANNEXB = 1
    ADTS = 2
    FLV = 3


class FrameFlags(enum.IntFlag):
    """What is to know of a frame."""

    NONE = 0
    KEY = 1
    CONFIG = 2
    DISCARDABLE = 4
    DISCONT = 8


class EventType(_Open):
    """What happened."""

    LISTENER_OPENED = 1
    LISTENER_CLOSED = 2
    STREAM_STARTED = 3
    STREAM_ENDED = 4
    SESSION_OPENED = 5
    SESSION_CLOSED = 6
    PLAY_STARTED = 7
    PLAY_ENDED = 8
    REFUSED = 9
    RELAY_STATE = 10
    FILE_STATE = 11
    LAGGED = 12
    LOG_LAGGED = 13
    RECORDING_STATE = 14
    RECORDING_FILE = 15


class RelayDirection(_Open):
    """Which way a relay carries its stream."""

    PUSH = 1
    PULL = 2


class RelayState(_Open):
    """Where a relay stands."""

    IDLE = 0
    RESOLVING = 1
    CONNECTING = 2
    HANDSHAKING = 3
    PUBLISHING = 4
    PLAYING = 5
    STALLED = 6
    BACKING_OFF = 7
    FAILED = 8


class FileState(_Open):
    """Where a file job stands."""

    PLAYING = 1
    FINISHED = 2
    STOPPED = 3
    FAILED = 4


class StreamState(_Open):
    """Where a stream is in its life."""

    IDLE = 0
    LIVE = 1
    AWAY = 2
    ENDED = 3


class AuthAction(_Open):
    """What a peer asks for."""

    PUBLISH = 1
    PLAY = 2


class Door(_Open):
    """By which service a request comes in."""

    RTMP = 1
    HTTP_FLV = 2
    WEBSOCKET = 3
    HTTP_MP4 = 4
    HLS = 5
    RECORDING = 6


class LogLevel(_Open):
    """How important a line of the log is."""

    OFF = 0
    ERROR = 1
    WARN = 2
    INFO = 3
    DEBUG = 4
    TRACE = 5


class StatsFlags(enum.IntFlag):
    """What :meth:`Engine.stats_json` tells."""

    ALL = 0
    ENGINE = 1
    LISTENERS = 2
    STREAMS = 4
    SESSIONS = 8
    RELAYS = 16
    FILES = 32
    ORIGINS = 64


class KickWho(enum.IntFlag):
    """Whom :meth:`Engine.kick_stream` ends."""

    PUBLISHER = 1
    PLAYERS = 2


_AUTH_DENY, _AUTH_DEFER = 0, 2


class Error(Exception):
    """A failed call. ``str()`` of it names the object and the cause."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = Status(code)
        """Which error."""


# --- structures of the header ---------------------------------------------------------------------------------------

class _Event(Structure):
    _fields_ = [("struct_size", c_size_t), ("type", c_int32), ("status", c_int32), ("id", c_uint64),
                ("time_us", c_uint64), ("stream", c_char_p), ("peer", c_char_p), ("message", c_char_p),
                ("json", c_char_p)]


class _Frame(Structure):
    _fields_ = [("struct_size", c_size_t), ("codec", c_int32), ("format", c_int32), ("track", c_uint32),
                ("flags", c_uint32), ("pts_ns", c_int64), ("dts_ns", c_int64), ("data", c_void_p), ("len", c_size_t),
                ("flv_body", c_void_p), ("flv_body_len", c_size_t), ("flv_type", c_int32), ("reserved", c_int32)]


class _LogRecord(Structure):
    _fields_ = [("struct_size", c_size_t), ("level", c_int32), ("reserved", c_int32), ("time_us", c_uint64),
                ("target", c_char_p), ("message", c_char_p)]


class _RelayStatus(Structure):
    _fields_ = [("struct_size", c_size_t), ("id", c_uint64), ("direction", c_int32), ("state", c_int32),
                ("last_error", c_int32), ("reserved", c_int32), ("since_ms", c_uint64), ("attempts", c_uint64),
                ("retries", c_uint64), ("bytes_sent", c_uint64), ("bytes_acknowledged", c_uint64),
                ("bytes_received", c_uint64), ("frames", c_uint64), ("stream", ctypes.c_char * 260),
                ("url", ctypes.c_char * 512), ("last_error_text", ctypes.c_char * 512)]


class _FileStatus(Structure):
    _fields_ = [("struct_size", c_size_t), ("id", c_uint64), ("state", c_int32), ("reserved", c_int32),
                ("loops_done", c_uint64), ("position_ms", c_uint64), ("frames", c_uint64),
                ("stream", ctypes.c_char * 260), ("error", ctypes.c_char * 512)]


class _AuthInfo(Structure):
    _fields_ = [("struct_size", c_size_t), ("action", c_int32), ("tls", c_int32), ("stream", c_char_p),
                ("peer", c_char_p), ("secret", c_char_p), ("query", c_char_p), ("agent", c_char_p),
                ("tc_url", c_char_p), ("page_url", c_char_p), ("door", c_int32), ("reserved", c_int32),
                ("origin", c_char_p)]


class _EngineStats(Structure):
    _fields_ = [("struct_size", c_size_t)] + [(name, c_uint64) for name in (
        "uptime_ms", "connections_accepted", "connections_rejected", "connections", "publishers", "players",
        "streams_live", "bytes_in", "bytes_out", "ring_bytes", "panics", "events_lost")]


class _StreamStats(Structure):
    _fields_ = [("struct_size", c_size_t), ("state", c_int32), ("reserved", c_int32), ("uptime_ms", c_uint64),
                ("subscribers", c_uint64), ("bytes_in", c_uint64), ("audio_frames", c_uint64),
                ("video_frames", c_uint64), ("keyframes", c_uint64), ("timestamp_ms", c_int64),
                ("silence_ms", c_int64), ("resumes", c_uint64), ("lags", c_uint64), ("frames_skipped", c_uint64),
                ("ring_frames", c_uint64), ("ring_bytes", c_uint64)]


_DestroyFn = ctypes.CFUNCTYPE(None, c_void_p)
_FrameFn = ctypes.CFUNCTYPE(None, POINTER(_Frame), c_void_p, c_void_p)
_AuthFn = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p)
_LogFn = ctypes.CFUNCTYPE(None, POINTER(_LogRecord), c_void_p)
_EventFn = ctypes.CFUNCTYPE(None, POINTER(_Event), c_void_p)


# --- the library ----------------------------------------------------------------------------------------------------

_FUNCTIONS: Dict[str, Any] = {
    # name: (result, parameters). A string that is to be freed is a c_void_p here.
    "se_version_number": (c_uint32, []),
    "se_version_string": (c_char_p, []),
    "se_build_info_json": (c_void_p, []),
    "se_string_free": (None, [c_void_p]),
    "se_last_error": (c_char_p, []),
    "se_last_status": (c_int32, []),
    "se_status_name": (c_char_p, [c_int32]),
    "se_log_set_callback": (c_int32, [c_int32, _LogFn, c_void_p, _DestroyFn]),
    "se_log_set_filter": (c_int32, [c_char_p]),
    "se_config_new": (c_void_p, []),
    "se_config_free": (None, [c_void_p]),
    "se_config_set": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "se_config_load_json": (c_int32, [c_void_p, c_char_p]),
    "se_config_dump_json": (c_void_p, [c_void_p]),
    "se_engine_new": (c_int32, [c_void_p, POINTER(c_void_p)]),
    "se_engine_start": (c_int32, [c_void_p]),
    "se_engine_reload": (c_void_p, [c_void_p, c_void_p]),
    "se_engine_stop": (c_int32, [c_void_p, c_uint32]),
    "se_engine_free": (None, [c_void_p]),
    "se_engine_set_event_callback": (c_int32, [c_void_p, _EventFn, c_void_p, _DestroyFn]),
    "se_engine_next_event": (c_int32, [c_void_p, c_int32, POINTER(c_void_p)]),
    "se_engine_event_fd": (c_int, [c_void_p]),
    "se_event_ref_get": (POINTER(_Event), [c_void_p]),
    "se_event_ref_free": (None, [c_void_p]),
    "se_listen_rtmp": (c_int32, [c_void_p, c_char_p, POINTER(c_uint64), POINTER(c_uint16)]),
    "se_listen_rtmps": (c_int32, [c_void_p, c_char_p, c_char_p, c_char_p, POINTER(c_uint64), POINTER(c_uint16)]),
    "se_listen_http": (c_int32, [c_void_p, c_char_p, c_char_p, c_char_p, POINTER(c_uint64), POINTER(c_uint16)]),
    "se_listener_reload_tls": (c_int32, [c_void_p, c_uint64, c_char_p, c_char_p]),
    "se_listener_close": (c_int32, [c_void_p, c_uint64]),
    "se_codec_name": (c_char_p, [c_int32]),
    "se_publisher_open": (c_int32, [c_void_p, c_char_p, c_void_p, POINTER(c_void_p)]),
    "se_publisher_set_track": (c_int32, [c_void_p, c_uint32, c_int32, c_char_p, c_size_t]),
    "se_publisher_set_metadata_json": (c_int32, [c_void_p, c_char_p]),
    "se_publisher_push_frame": (c_int32, [c_void_p, POINTER(_Frame)]),
    "se_publisher_push_frame_ref": (c_int32, [c_void_p, POINTER(_Frame), _DestroyFn, c_void_p]),
    "se_publisher_push_flv_tag": (c_int32, [c_void_p, c_uint8, c_uint32, c_char_p, c_size_t]),
    "se_publisher_push_flv": (c_int32, [c_void_p, c_char_p, c_size_t]),
    "se_publisher_free": (None, [c_void_p]),
    "se_subscriber_open": (c_int32, [c_void_p, c_char_p, c_void_p, POINTER(c_void_p)]),
    "se_subscriber_set_callback": (c_int32, [c_void_p, _FrameFn, c_void_p, _DestroyFn]),
    "se_subscriber_next": (c_int32, [c_void_p, c_int32, POINTER(c_void_p)]),
    "se_frame_ref_get": (POINTER(_Frame), [c_void_p]),
    "se_frame_ref_clone": (c_void_p, [c_void_p]),
    "se_frame_ref_free": (None, [c_void_p]),
    "se_subscriber_free": (None, [c_void_p]),
    "se_relay_add_push": (c_int32, [c_void_p, c_char_p, c_char_p, c_void_p, POINTER(c_uint64)]),
    "se_relay_add_pull": (c_int32, [c_void_p, c_char_p, c_char_p, c_void_p, POINTER(c_uint64)]),
    "se_relay_tune": (c_int32, [c_void_p, c_uint64, c_void_p]),
    "se_relay_remove": (c_int32, [c_void_p, c_uint64]),
    "se_relay_restart": (c_int32, [c_void_p, c_uint64]),
    "se_relay_get_status": (c_int32, [c_void_p, c_uint64, POINTER(_RelayStatus)]),
    "se_relays_json": (c_void_p, [c_void_p]),
    "se_origin_set": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "se_origin_remove": (c_int32, [c_void_p, c_char_p]),
    "se_origins_json": (c_void_p, [c_void_p]),
    "se_file_publish": (c_int32, [c_void_p, c_char_p, c_char_p, c_int32, c_void_p, POINTER(c_uint64)]),
    "se_file_replace": (c_int32, [c_void_p, c_uint64, c_char_p, c_int32, c_void_p, POINTER(c_uint64)]),
    "se_file_stop": (c_int32, [c_void_p, c_uint64]),
    "se_file_get_status": (c_int32, [c_void_p, c_uint64, POINTER(_FileStatus)]),
    "se_files_json": (c_void_p, [c_void_p]),
    "se_record_start": (c_int32, [c_void_p, c_char_p, c_char_p, POINTER(c_uint64)]),
    "se_record_stop": (c_int32, [c_void_p, c_uint64]),
    "se_record_cut": (c_int32, [c_void_p, c_uint64, c_uint32]),
    "se_recordings_json": (c_void_p, [c_void_p]),
    "se_recorded_files_json": (c_void_p, [c_void_p, c_char_p]),
    "se_engine_set_auth_callback": (c_int32, [c_void_p, _AuthFn, c_void_p, _DestroyFn]),
    "se_auth_request_get": (c_int32, [c_void_p, POINTER(_AuthInfo)]),
    "se_auth_request_reply": (None, [c_void_p, c_int32, c_char_p]),
    "se_auth_request_grant_json": (c_int32, [c_void_p, c_char_p]),
    "se_auth_request_pass": (None, [c_void_p]),
    "se_engine_set_names_may_be_keys": (c_int32, [c_void_p, c_int32]),
    "se_keys_add": (c_void_p, [c_void_p, c_char_p]),
    "se_keys_json": (c_void_p, [c_void_p, c_char_p]),
    "se_keys_revoke": (c_int32, [c_void_p, c_char_p]),
    "se_keys_rotate": (c_void_p, [c_void_p, c_char_p, c_uint64]),
    "se_keys_export": (c_void_p, [c_void_p]),
    "se_keys_import": (c_int32, [c_void_p, c_char_p]),
    "se_engine_get_stats": (c_int32, [c_void_p, POINTER(_EngineStats)]),
    "se_stream_get_stats": (c_int32, [c_void_p, c_char_p, POINTER(_StreamStats)]),
    "se_stats_json": (c_void_p, [c_void_p, c_uint32]),
    "se_snapshot_json": (c_void_p, [c_void_p]),
    "se_history_json": (c_void_p, [c_void_p, c_char_p]),
    "se_http_set_dashboard": (c_int32, [c_void_p, c_int32]),
    "se_streams_json": (c_void_p, [c_void_p]),
    "se_sessions_json": (c_void_p, [c_void_p, c_char_p]),
    "se_kick_credential": (c_int32, [c_void_p, c_char_p, c_char_p, POINTER(c_uint64)]),
    "se_kick": (c_int32, [c_void_p, c_uint64, c_char_p, c_uint32, c_char_p]),
    "se_session_request_reconnect": (c_int32, [c_void_p, c_uint64, c_char_p]),
}


def _candidates() -> Iterator[str]:
    """Where the library may be. A file that is asked for is the only one."""
    asked = os.environ.get("STREAMENGINE_LIBRARY")
    if asked:
        yield asked
        return
    for name in ("libstreamengine.so.0", "libstreamengine.dylib"):
        beside = Path(__file__).with_name(name)
        if beside.is_file():
            yield str(beside)
    # Of the wheel, where this file lies beside a program in its place.
    for folder in sys.path:
        installed = Path(folder) / "streamengine" / "libstreamengine.so.0"
        if installed.is_file():
            yield str(installed)
    yield ctypes.util.find_library("streamengine") or "libstreamengine.so.0"


def _load() -> ctypes.CDLL:
    failures = []
    for candidate in _candidates():
        try:
            library = ctypes.CDLL(candidate)
            for name, (result, parameters) in _FUNCTIONS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, parameters
            return library
        except (OSError, AttributeError) as error:  # no such file; a library of another version
            failures.append(f"{candidate}: {error}")
    asked = os.environ.get("STREAMENGINE_LIBRARY")
    places = (f"$STREAMENGINE_LIBRARY ({asked or 'not set'}), beside {__file__} (libstreamengine.so.0), an installed "
              f"wheel, and where the system looks (ldconfig -p, $LD_LIBRARY_PATH: {os.environ.get('LD_LIBRARY_PATH') or 'not set'})")
    raise ImportError("libstreamengine cannot be loaded. Places: " + places + ". Said: " + "; ".join(failures))


_lib = _load()


def _last_text() -> str:
    return _lib.se_last_error().decode()


def _last_error() -> Error:
    return Error(_lib.se_last_status(), _last_text())


def _check(status: int) -> None:
    if status != Status.OK:
        raise _last_error()


def _text(string: Optional[int]) -> str:
    """Takes over a string that the library has made."""
    if not string:
        raise _last_error()
    try:
        return ctypes.string_at(string).decode()
    finally:
        _lib.se_string_free(string)


def _json(string: Optional[int]) -> Any:
    """Likewise, and reads it."""
    return json_.loads(_text(string))


def _bytes(text: Optional[str]) -> Optional[bytes]:
    if text is None:
        return None
    if "\0" in text:
        raise Error(Status.INVALID_ARGUMENT, f"{text!r} has a NUL in it")
    return text.encode()


def _time(nanoseconds: Optional[int]) -> int:
    return TIME_UNSET if nanoseconds is None else nanoseconds


def version() -> str:
    """The version of the library: ``"0.1.0"``."""
    return _lib.se_version_string().decode()


def build_info() -> Dict[str, Any]:
    """What the library was built as: version, commit, profile, target, TLS, codecs."""
    return _json(_lib.se_build_info_json())


# --- callbacks ------------------------------------------------------------------------------------------------------
#
# There is one trampoline of each kind, for ever. What it calls is found by a number that is the library's `user_data`,
# and is forgotten when the library says that it needs it no more. So nothing is freed too early, and nothing stays.

_kept: Dict[int, Any] = {}
_numbers = itertools.count(1)


def _keep(what: Any) -> int:
    number = next(_numbers)
    _kept[number] = what
    return number


def _unraisable(callback: object) -> None:
    kind, value, trace = sys.exc_info()
    sys.unraisablehook(types.SimpleNamespace(exc_type=kind, exc_value=value, exc_traceback=trace, object=callback,
                                             err_msg="Exception ignored in a callback of streamengine"))


@_DestroyFn
def _forget(number: int) -> None:
    _kept.pop(number, None)


# Has `callback` set on threads of the library, where an engine cannot be freed.
_here = threading.local()


@_FrameFn
def _on_frame(frame: Any, ref: int, number: int) -> None:
    _here.callback = True
    on_frame, on_end = _kept[number]
    try:
        if frame:
            on_frame(Frame(_lib.se_frame_ref_clone(ref)))
        elif on_end is not None:
            on_end(_last_text())
    except BaseException:
        _unraisable(on_frame)


@_AuthFn
def _on_auth(request: int, number: int) -> int:
    _here.callback = True
    callback = _kept[number]
    try:
        owned = AuthRequest(request)
    except BaseException:
        _unraisable(callback)
        return _AUTH_DENY
    try:
        callback(owned)
    except BaseException:
        _unraisable(callback)
        owned.deny("the server's own check has failed")
    return _AUTH_DEFER  # the request is the wrapper's, also where it has been answered already


@_LogFn
def _on_log(record: Any, number: int) -> None:
    _here.callback = True
    callback = _kept[number]
    try:
        line = record.contents
        callback(LogRecord(LogLevel(line.level), line.time_us / 1e6, line.target.decode(), line.message.decode()))
    except BaseException:
        _unraisable(callback)


_NO_DESTROY = _DestroyFn()


# --- log ------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class LogRecord:
    """One line of the log."""

    level: LogLevel
    time: float
    """When, in seconds since 1970 (UTC)."""
    target: str
    """The part of the library that speaks."""
    message: str


def set_log(level: LogLevel, callback: Optional[Callable[[LogRecord], None]]) -> None:
    """Has the log of all engines delivered to a callback, on a thread of its own; ``None`` ends it."""
    if callback is None:
        _check(_lib.se_log_set_callback(level, _LogFn(), None, _NO_DESTROY))
    else:
        _check(_lib.se_log_set_callback(level, _on_log, _keep(callback), _forget))


def set_log_filter(directives: str) -> None:
    """Which lines the log has: ``"info,rtmp=debug"``."""
    _check(_lib.se_log_set_filter(_bytes(directives)))


# --- handles --------------------------------------------------------------------------------------------------------

class _Handle:
    """A handle of the library with the function that frees it.

    Freeing may wait for a callback of this very program, so it is done without any lock of this module. Threads that are
    about to use it meanwhile are told by the library: a handle that has been freed is an error there, never memory.
    """

    _free: str = ""

    def __init__(self, pointer: Optional[int]) -> None:
        if not pointer:
            raise _last_error()
        self._pointer: Optional[int] = pointer

    @property
    def _live(self) -> int:
        if self._pointer is None:
            raise Error(Status.CLOSED, f"the {type(self).__name__.lower()} has been closed")
        return self._pointer

    def close(self) -> None:
        """Frees it. Later calls raise; a second ``close`` does nothing."""
        pointer, self._pointer = getattr(self, "_pointer", None), None
        if pointer is not None:
            getattr(_lib, self._free)(pointer)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Config(_Handle):
    """Settings of an engine, or options of one publisher, subscriber, relay or file.

    ``Config({"rtmp": {"listen": ["127.0.0.1:0"]}})`` has the shape of the TOML configuration.
    """

    _free = "se_config_free"

    def __init__(self, settings: Optional[Dict[str, Any]] = None) -> None:
        super().__init__(_lib.se_config_new())
        if settings:
            self.load(settings)

    def set(self, key: str, value: Union[str, int, float, bool]) -> Config:
        """Sets one value: ``set("limits.ring_ms", 5000)``."""
        text = str(value).lower() if isinstance(value, bool) else str(value)
        _check(_lib.se_config_set(self._live, _bytes(key), _bytes(text)))
        return self

    def load(self, settings: Dict[str, Any]) -> Config:
        """Sets many values."""
        _check(_lib.se_config_load_json(self._live, json_.dumps(settings).encode()))
        return self

    def dump(self) -> Dict[str, Any]:
        """The effective values of all settings."""
        return _json(_lib.se_config_dump_json(self._live))


Options = Union[Config, Dict[str, Any], None]


class _Options:
    """Options for one call: a parameter of ctypes that keeps what it points to."""

    def __init__(self, options: Options) -> None:
        self._config = Config(options) if isinstance(options, dict) else options
        self._as_parameter_ = c_void_p(self._config._live if self._config else None)


def _new(function: Any, *arguments: Any) -> int:
    """Calls a function whose last parameter is where it puts a handle."""
    out = c_void_p()
    _check(function(*arguments, byref(out)))
    assert out.value is not None
    return out.value


def _new_id(function: Any, *arguments: Any) -> int:
    out = c_uint64()
    _check(function(*arguments, byref(out)))
    return out.value


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    type: EventType
    status: Status
    """What it says about success."""
    id: int
    """The listener, session, relay or file job; 0 where there is none."""
    time: float
    """When, in seconds since 1970 (UTC)."""
    stream: str
    peer: str
    """Who is at the other end."""
    message: str
    json: str
    """All of it as a JSON object."""


class Frame(_Handle):
    """A frame that was read: counted, not copied, and held until it is closed or collected."""

    _free = "se_frame_ref_free"

    def __init__(self, pointer: Optional[int]) -> None:
        super().__init__(pointer)
        frame = _lib.se_frame_ref_get(pointer).contents
        self.codec = Codec(frame.codec)
        self.track: int = frame.track
        self.flags = FrameFlags(frame.flags)
        self.pts_ns: int = frame.pts_ns
        self.dts_ns: int = frame.dts_ns
        self.flv_type: int = frame.flv_type
        """Of `flv_body`: 8 for audio, 9 for video, 18 for data."""
        self._data = (frame.data, frame.len)
        self._flv_body = (frame.flv_body, frame.flv_body_len)

    @property
    def data(self) -> memoryview:
        """The payload in native form, without a copy. The view keeps the frame."""
        return self._view(*self._data)

    @property
    def flv_body(self) -> memoryview:
        """The body of the FLV tag as it was published, without a copy. The view keeps the frame."""
        return self._view(*self._flv_body)

    def _view(self, address: Optional[int], length: int) -> memoryview:
        """A view of bytes of the library.

        It is cut out of an array type of the greatest length, as each length of its own would be a type of its own.
        The array has a reference of its own to the frame, so the view outlives `close`.
        """
        if not address or not length:
            return memoryview(b"")
        array = _Longest.from_address(address)
        array.owner = _FrameOwner(_lib.se_frame_ref_clone(self._live))
        return memoryview(array).cast("B")[:length].toreadonly()


_Longest = c_uint8 * (2**31 - 1)


class _FrameOwner(_Handle):
    _free = "se_frame_ref_free"


class Publisher(_Handle):
    """A stream that the program publishes. Closing it ends the stream."""

    _free = "se_publisher_free"

    def set_track(self, track: int, codec: Codec, extradata: Optional[bytes] = None) -> None:
        """Declares a track and gives its decoder configuration; without one it comes in the stream itself."""
        _check(_lib.se_publisher_set_track(self._live, track, codec, extradata, len(extradata or b"")))

    def set_metadata(self, metadata: Dict[str, Any]) -> None:
        """Sends metadata (``onMetaData``)."""
        _check(_lib.se_publisher_set_metadata_json(self._live, json_.dumps(metadata).encode()))

    def push(self, data: bytes, codec: Codec, pts_ns: int, *, format: Format = Format.NATIVE,
             dts_ns: Optional[int] = None, flags: FrameFlags = FrameFlags.NONE, track: int = 0,
             flv_type: int = 0) -> None:
        """Publishes one frame, which is copied. Times are in nanoseconds. It never waits: the pace is yours.

        ``flv_type`` is needed with ``Format.FLV`` only.
        """
        frame = _Frame(sizeof(_Frame), codec, format, track, flags, pts_ns, _time(dts_ns),
                       ctypes.cast(data, c_void_p), len(data), None, 0, flv_type, 0)
        _check(_lib.se_publisher_push_frame(self._live, byref(frame)))

    def push_flv_tag(self, type: int, timestamp_ms: int, body: bytes) -> None:
        """Publishes the body of one FLV tag: type 8, 9 or 18."""
        _check(_lib.se_publisher_push_flv_tag(self._live, type, timestamp_ms, body, len(body)))

    def push_flv(self, data: bytes) -> None:
        """Publishes an FLV byte stream, in pieces of any size."""
        _check(_lib.se_publisher_push_flv(self._live, data, len(data)))


class Subscriber(_Handle):
    """A stream that the program reads: iterate over it, call :meth:`next`, or set a callback."""

    _free = "se_subscriber_free"

    end: str = ""
    """Why the stream ended, once it has."""

    def next(self, timeout: Optional[float] = None) -> Optional[Frame]:
        """The next frame; ``None`` where none came in time (seconds; ``None`` waits for ever).

        Raises :class:`Error` with ``Status.CLOSED`` at the end of the stream.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            # In slices, so that Ctrl-C is noticed.
            left = 0.2 if until is None else min(0.2, max(0.0, until - time.monotonic()))
            out = c_void_p()
            status = _lib.se_subscriber_next(self._live, round(left * 1000), byref(out))
            if status == Status.OK:
                return Frame(out.value)
            if status not in (Status.AGAIN, Status.TIMEOUT):
                self.end = _last_text()
                raise Error(status, self.end)
            if until is not None and time.monotonic() >= until:
                return None

    def set_callback(self, on_frame: Callable[[Frame], None], on_end: Optional[Callable[[str], None]] = None) -> None:
        """Has frames delivered to a callback, on the callback thread, and at the end of the stream why it ended."""
        _check(_lib.se_subscriber_set_callback(self._live, _on_frame, _keep((on_frame, on_end)), _forget))

    def __iter__(self) -> Iterator[Frame]:
        while True:
            try:
                frame = self.next()
            except Error as error:
                if error.code == Status.CLOSED:
                    return
                raise
            assert frame is not None
            yield frame


@dataclass(frozen=True)
class AuthInfo:
    """Who asks for what. ``secret``, ``query``, ``tc_url`` and ``page_url`` should not be logged."""

    action: AuthAction
    tls: bool
    stream: str
    peer: str
    secret: str
    query: str
    agent: str
    tc_url: str
    page_url: str
    origin: str
    door: Door


class AuthRequest:
    """A request to publish or play, to be answered in the callback or later on any thread.

    One that is collected without an answer is refused.
    """

    def __init__(self, pointer: int) -> None:
        info = _AuthInfo(sizeof(_AuthInfo))
        _check(_lib.se_auth_request_get(pointer, byref(info)))
        texts = (info.stream, info.peer, info.secret, info.query, info.agent, info.tc_url, info.page_url, info.origin)
        self.info = AuthInfo(AuthAction(info.action), bool(info.tls),
                             *(text.decode(errors="replace") for text in texts), door=Door(info.door))
        self._pointer: Optional[int] = pointer

    def allow(self, right: Optional[str] = None) -> None:
        """Grants; ``right`` says by which right, such as a user's name."""
        self._reply(True, right)

    def grant(self, **terms: Any) -> None:
        """Grants more than a name: ``stream``, ``principal``, ``credential``, ``max_kbps``, ``max_viewers``, ``lasts_s``,
        ``push``, a list of URLs, and ``pull``, a URL. Raises, and refuses, where that is no grant."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _check(_lib.se_auth_request_grant_json(pointer, _bytes(json_.dumps(terms))))

    def pass_on(self) -> None:
        """Says nothing: whoever comes next decides, at last the configuration."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            _lib.se_auth_request_pass(pointer)

    def deny(self, reason: Optional[str] = None) -> None:
        """Refuses; the encoder or player shows the reason."""
        self._reply(False, reason)

    def _reply(self, allow: bool, text: Optional[str]) -> None:
        encoded = _bytes(text)
        pointer, self._pointer = getattr(self, "_pointer", None), None
        if pointer is not None:
            _lib.se_auth_request_reply(pointer, allow, encoded)

    def __del__(self) -> None:
        self._reply(False, None)


@dataclass(frozen=True)
class Listener:
    """A listener that was opened."""

    id: int
    port: int
    """The port really bound."""


@dataclass(frozen=True)
class RelayStatus:
    """A relay's present condition."""

    id: int
    direction: RelayDirection
    state: RelayState
    last_error: Status
    since_ms: int
    attempts: int
    retries: int
    bytes_sent: int
    bytes_acknowledged: int
    bytes_received: int
    frames: int
    stream: str
    url: str
    last_error_text: str


@dataclass(frozen=True)
class FileStatus:
    """State and progress of one file job."""

    id: int
    state: FileState
    loops_done: int
    position_ms: int
    frames: int
    stream: str
    error: str


@dataclass(frozen=True)
class EngineStats:
    """Counters of a whole engine."""

    uptime_ms: int
    connections_accepted: int
    connections_rejected: int
    connections: int
    publishers: int
    players: int
    streams_live: int
    bytes_in: int
    bytes_out: int
    ring_bytes: int
    panics: int
    events_lost: int


@dataclass(frozen=True)
class StreamStats:
    """Facts and counters of one stream."""

    state: StreamState
    uptime_ms: int
    subscribers: int
    bytes_in: int
    audio_frames: int
    video_frames: int
    keyframes: int
    timestamp_ms: Optional[int]
    silence_ms: Optional[int]
    resumes: int
    lags: int
    frames_skipped: int
    ring_frames: int
    ring_bytes: int


def _fill(kind: Any, structure: Any, function: Any, *arguments: Any) -> Any:
    """Has a structure filled in and makes the dataclass of it, with enums and texts."""
    structure.struct_size = sizeof(structure)
    _check(function(*arguments, byref(structure)))
    enums = {"direction": RelayDirection, "last_error": Status, "state": {
        RelayStatus: RelayState, FileStatus: FileState, StreamStats: StreamState}.get(kind)}
    values = {}
    for name in kind.__dataclass_fields__:
        value = getattr(structure, name)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif enums.get(name):
            value = enums[name](value)
        elif value == TIME_UNSET:
            value = None
        values[name] = value
    return kind(**values)


# --- the engine -----------------------------------------------------------------------------------------------------

# Engines that live. At the interpreter's exit they end before it does: their threads call into it.
_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for engine in list(_engines):
        engine.close()
    _lib.se_log_set_callback(LogLevel.OFF, _LogFn(), None, _NO_DESTROY)


class Engine(_Handle):
    """An RTMP engine: serves, relays and loops live streams.

    As a context manager it starts when entered and is closed when left; else call :meth:`start` and :meth:`close`.
    """

    _free = "se_engine_free"

    def __init__(self, config: Options = None) -> None:
        super().__init__(_new(_lib.se_engine_new, _Options(config)))
        _engines.add(self)

    def __enter__(self) -> Engine:
        self.start()
        return self

    def close(self) -> None:
        """Stops at once, and frees the engine. Not possible in a callback; there is :meth:`stop`."""
        if getattr(_here, "callback", False):
            raise Error(Status.DEADLOCK, "an engine cannot be closed in a callback")
        super().close()

    def __del__(self) -> None:
        if getattr(_here, "callback", False):
            threading.Thread(target=super().close).start()
        else:
            super().close()

    def start(self) -> None:
        """Starts threads, and listeners, relays and files of the configuration."""
        _check(_lib.se_engine_start(self._live))

    def reload(self, config: Options = None) -> Any:
        """Takes other settings, all of them, while it runs, and does what is different; tells ``changes``."""
        return _json(_lib.se_engine_reload(self._live, _Options(config)))

    def stop(self, drain: float = 2.0) -> bool:
        """Stops in good order, within ``drain`` seconds. False where some connection had to be cut."""
        status = _lib.se_engine_stop(self._live, round(drain * 1000))
        if status == Status.TIMEOUT:
            return False
        _check(status)
        return True

    # events

    def fileno(self) -> int:
        """A descriptor that is readable while there are events: for ``select``, ``selectors`` and event loops."""
        fd = _lib.se_engine_event_fd(self._live)
        if fd < 0:
            raise _last_error()
        return fd

    def next_event(self, timeout: Optional[float] = 0) -> Optional[Event]:
        """The next event; ``None`` where none came in time (seconds; ``None`` waits for ever)."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            event = self._take_event()
            left = 1.0 if until is None else min(1.0, until - time.monotonic())
            if event is not None or left <= 0:
                return event
            # Waiting is done here, not in the library, so that Ctrl-C interrupts it; and not for ever, so that
            # the engine may be closed by another thread.
            waiting = select.poll()
            waiting.register(self, select.POLLIN)
            waiting.poll(left * 1000)

    def _take_event(self) -> Optional[Event]:
        out = c_void_p()
        status = _lib.se_engine_next_event(self._live, 0, byref(out))
        if status == Status.AGAIN:
            return None
        _check(status)
        try:
            event = _lib.se_event_ref_get(out).contents
            texts = (event.stream, event.peer, event.message, event.json)
            return Event(EventType(event.type), Status(event.status), event.id, event.time_us / 1e6,
                         *(text.decode(errors="replace") for text in texts))
        finally:
            _lib.se_event_ref_free(out)

    def events(self) -> Iterator[Event]:
        """Events as they come, until the engine is closed."""
        while True:
            try:
                event = self.next_event(None)
            except Error as error:
                if error.code == Status.CLOSED:
                    return
                raise
            assert event is not None
            yield event

    async def events_async(self) -> AsyncIterator[Event]:
        """Events as they come, in asyncio, until the engine is closed or the task is cancelled."""
        loop = asyncio.get_running_loop()
        fd = self.fileno()
        ready = asyncio.Event()
        loop.add_reader(fd, ready.set)
        try:
            while self._pointer is not None:
                event = self._take_event()
                if event is not None:
                    yield event
                else:
                    ready.clear()
                    await ready.wait()
        finally:
            loop.remove_reader(fd)

    # listeners

    def listen_rtmp(self, address: str) -> Listener:
        """Opens an RTMP listener: ``"127.0.0.1:0"``."""
        return self._listen(_lib.se_listen_rtmp, address)

    def listen_rtmps(self, address: str, cert: str, key: str) -> Listener:
        """Opens an RTMPS listener; certificate and key are PEM, as text or file names."""
        return self._listen(_lib.se_listen_rtmps, address, cert, key)

    def listen_http(self, address: str, cert: Optional[str] = None, key: Optional[str] = None) -> Listener:
        """Opens a listener for players over HTTP, FLV and MP4, also by WebSocket; over HTTPS with a certificate and key."""
        return self._listen(_lib.se_listen_http, address, cert, key)

    def _listen(self, function: Any, *texts: Optional[str]) -> Listener:
        listener, port = c_uint64(), c_uint16()
        _check(function(self._live, *map(_bytes, texts), byref(listener), byref(port)))
        return Listener(listener.value, port.value)

    def reload_tls(self, listener: int, cert: Optional[str] = None, key: Optional[str] = None) -> None:
        """Gives a listener with TLS another certificate and key; without them, reads again the files in use."""
        _check(_lib.se_listener_reload_tls(self._live, listener, _bytes(cert), _bytes(key)))

    def close_listener(self, listener: int) -> None:
        """Closes a listener; its connections go on."""
        _check(_lib.se_listener_close(self._live, listener))

    # streams of the program

    def publish(self, stream: str, options: Options = None) -> Publisher:
        """Publishes a stream from the program. Options: ``takeover``, ``resume_window_ms``, ``start``,
        ``max_start_bytes``, ``max_queue_ms``, ``max_queue_bytes``, ``keyframe_wait_ms``,
        ``ring_bytes``."""
        return Publisher(_new(_lib.se_publisher_open, self._live, _bytes(stream), _Options(options)))

    def subscribe(self, stream: str, options: Options = None) -> Subscriber:
        """Reads a stream in the program. Options: ``start``, ``back_ms``, ``wait_for_publisher_ms``."""
        return Subscriber(_new(_lib.se_subscriber_open, self._live, _bytes(stream), _Options(options)))

    # relays and files

    def add_push(self, stream: str, url: str, options: Options = None) -> int:
        """Pushes a local stream to another server. Options: the keys of ``[[push]]``."""
        return _new_id(_lib.se_relay_add_push, self._live, _bytes(stream), _bytes(url), _Options(options))

    def add_pull(self, url: str, stream: str, options: Options = None) -> int:
        """Fetches a stream from another server, by RTMP or as FLV over HTTP. Options: the keys of ``[[pull]]``."""
        return _new_id(_lib.se_relay_add_pull, self._live, _bytes(url), _bytes(stream), _Options(options))

    def remove_relay(self, relay: int) -> None:
        """Ends a relay in good order."""
        _check(_lib.se_relay_remove(self._live, relay))

    def tune_relay(self, relay: int, options: Options = None) -> None:
        """Changes how a relay push connects, waits and leaves, from its next step on."""
        _check(_lib.se_relay_tune(self._live, relay, _Options(options)))

    def restart_relay(self, relay: int) -> None:
        """Makes a relay try again at once."""
        _check(_lib.se_relay_restart(self._live, relay))

    def relay_status(self, relay: int) -> RelayStatus:
        """State and counters of one relay."""
        return _fill(RelayStatus, _RelayStatus(), _lib.se_relay_get_status, self._live, relay)

    def relays(self) -> List[Dict[str, Any]]:
        """State and counters of all relays."""
        return _json(_lib.se_relays_json(self._live))

    def set_origin(self, alias: str, urls: List[str], options: Optional[Dict[str, Any]] = None) -> None:
        """Names servers by an alias: ``origin/ALIAS/APP/STREAM`` is fetched from them for who plays it. Options: the
        other keys of ``[origins.ALIAS]``."""
        _check(_lib.se_origin_set(self._live, _bytes(alias), _bytes(json_.dumps({**(options or {}), "urls": urls}))))

    def remove_origin(self, alias: str) -> None:
        """Removes an alias; its streams end."""
        _check(_lib.se_origin_remove(self._live, _bytes(alias)))

    def origins(self) -> List[Dict[str, Any]]:
        """All origins, with the streams that are fetched from them."""
        return _json(_lib.se_origins_json(self._live))

    def publish_file(self, path: Union[str, os.PathLike], stream: str, loops: int = -1, options: Options = None) -> int:
        """Plays a media file, FLV or MP4, as a live stream; -1 loops are endless. Options: ``paths``."""
        return _new_id(_lib.se_file_publish, self._live, os.fsencode(path), _bytes(stream), loops, _Options(options))

    def replace_file(self, file: int, path: Union[str, os.PathLike], loops: int = -1, options: Options = None) -> int:
        """Plays another file in place of those of a job; players of its stream stay. The job that plays now."""
        return _new_id(_lib.se_file_replace, self._live, file, os.fsencode(path), loops, _Options(options))

    def stop_file(self, file: int) -> None:
        """Ends a file job and its stream."""
        _check(_lib.se_file_stop(self._live, file))

    def file_status(self, file: int) -> FileStatus:
        """State and progress of one file job."""
        return _fill(FileStatus, _FileStatus(), _lib.se_file_get_status, self._live, file)

    def files(self) -> List[Dict[str, Any]]:
        """State and progress of all file jobs."""
        return _json(_lib.se_files_json(self._live))

    def record(self, stream: str, options: Optional[Dict[str, Any]] = None) -> int:
        """Records a stream until :meth:`stop_recording`, as its app's configuration says. Options: the keys of
        ``[default_app.record]`` in its place, ``dir`` among them."""
        json = None if options is None else _bytes(json_.dumps(options))
        return _new_id(_lib.se_record_start, self._live, _bytes(stream), json)

    def stop_recording(self, recording: int) -> None:
        """Ends a recording; its file becomes whole."""
        _check(_lib.se_record_stop(self._live, recording))

    def cut_recording(self, recording: int, timeout_ms: int = 10_000) -> None:
        """Ends the file that a recording writes: it is whole when this returns, and what follows is in another one."""
        _check(_lib.se_record_cut(self._live, recording, timeout_ms))

    def recordings(self) -> List[Dict[str, Any]]:
        """State and progress of all recordings."""
        return _json(_lib.se_recordings_json(self._live))

    def recorded_files(self, stream: str) -> List[Dict[str, Any]]:
        """The recorded files of a stream, the oldest first."""
        return _json(_lib.se_recorded_files_json(self._live, _bytes(stream)))

    # who may come, who is here

    def set_auth(self, callback: Optional[Callable[[AuthRequest], None]]) -> None:
        """Lets the program decide who may publish and play; ``None`` lets the configuration decide again.

        The callback answers at once, or keeps the request and answers later. All callbacks wait for it, so what takes
        time belongs on another thread.
        """
        if callback is None:
            _check(_lib.se_engine_set_auth_callback(self._live, _AuthFn(), None, _NO_DESTROY))
        else:
            _check(_lib.se_engine_set_auth_callback(self._live, _on_auth, _keep(callback), _forget))

    def set_names_may_be_keys(self, enabled: bool) -> None:
        """Says whether what peers send for a name may be a key; then names that are refused are not told."""
        _check(_lib.se_engine_set_names_may_be_keys(self._live, enabled))

    def add_key(self, stream: str, **what: Any) -> Dict[str, Any]:
        """Makes a stream key, of the database ``keys.url``, or takes one in (``key``). What it opens: ``play``, ``who``,
        ``max_kbps``, ``max_viewers``, ``expires``, ``until``. The result has ``key`` this once."""
        return _json(_lib.se_keys_add(self._live, _bytes(json_.dumps({**what, "stream": stream}))))

    def keys(self, stream: Optional[str] = None) -> List[Dict[str, Any]]:
        """All stream keys, or those of one stream."""
        return _json(_lib.se_keys_json(self._live, _bytes(stream)))

    def revoke_key(self, id: str) -> None:
        """Revokes a stream key; what it has opened ends at once."""
        _check(_lib.se_keys_revoke(self._live, _bytes(id)))

    def rotate_key(self, id: str, overlap: float = 0) -> Dict[str, Any]:
        """Makes a stream key that opens what another one does, which is good for ``overlap`` seconds yet."""
        return _json(_lib.se_keys_rotate(self._live, _bytes(id), int(overlap * 1000)))

    def export_keys(self) -> str:
        """All stream keys for another database: as secret as this one."""
        return _text(_lib.se_keys_export(self._live))

    def import_keys(self, exported: str) -> None:
        """Takes stream keys in that were exported."""
        _check(_lib.se_keys_import(self._live, _bytes(exported)))

    def stats(self) -> EngineStats:
        """Counters of the whole engine."""
        return _fill(EngineStats, _EngineStats(), _lib.se_engine_get_stats, self._live)

    def stream_stats(self, stream: str) -> StreamStats:
        """Facts and counters of one stream."""
        return _fill(StreamStats, _StreamStats(), _lib.se_stream_get_stats, self._live, _bytes(stream))

    def stats_json(self, flags: StatsFlags = StatsFlags.ALL) -> Dict[str, Any]:
        """Counters and lists."""
        return _json(_lib.se_stats_json(self._live, flags))

    def snapshot(self) -> Dict[str, Any]:
        """The whole engine as it was at the newest second; streams with their rates, and `problems`: what is wrong with them."""
        return _json(_lib.se_snapshot_json(self._live))

    def history(self, stream: Optional[str] = None) -> List[Dict[str, Any]]:
        """What the engine, or a stream, did in each of the last 600 seconds, the oldest first."""
        return _json(_lib.se_history_json(self._live, _bytes(stream)))

    def set_dashboard(self, enabled: bool) -> None:
        """Says whether `http://HOST:PORT/` is the dashboard."""
        _check(_lib.se_http_set_dashboard(self._live, enabled))

    def streams(self) -> List[Dict[str, Any]]:
        """All streams."""
        return _json(_lib.se_streams_json(self._live))

    def sessions(self, stream: Optional[str] = None) -> List[Dict[str, Any]]:
        """All sessions, or those of one stream."""
        return _json(_lib.se_sessions_json(self._live, _bytes(stream)))

    def kick_session(self, session: int, reason: Optional[str] = None) -> None:
        """Ends a session."""
        _check(_lib.se_kick(self._live, session, None, 0, _bytes(reason)))

    def request_reconnect(self, session: int, url: Optional[str] = None) -> None:
        """Asks the peer of a session to connect anew, to `url` (`rtmp[s]://host[:port]/app`) or to the same place."""
        _check(_lib.se_session_request_reconnect(self._live, session, _bytes(url)))

    def kick_credential(self, credential: str, reason: Optional[str] = None) -> int:
        """Ends the sessions that something was granted for this credential; how many there were."""
        count = c_uint64()
        _check(_lib.se_kick_credential(self._live, _bytes(credential), _bytes(reason), byref(count)))
        return count.value

    def kick_stream(self, stream: str, who: KickWho, reason: Optional[str] = None) -> None:
        """Ends the sessions of a stream."""
        _check(_lib.se_kick(self._live, 0, _bytes(stream), who, _bytes(reason)))
