/**
 * @file streamengine.h
 * libstreamengine: an RTMP engine that other programs carry inside them.
 *
 * It serves, relays and loops live streams; frames go in and out of the program without a copy.
 *
 * A server that prints what happens, until it has been published to once:
 *
 *     se_engine *engine;
 *     se_event_ref *event;
 *     uint16_t port;
 *     int done = 0;
 *     if (se_engine_new(NULL, &engine) != SE_OK) return 1;
 *     if (se_engine_start(engine) != SE_OK || se_listen_rtmp(engine, "127.0.0.1:0", NULL, &port) != SE_OK)
 *       fprintf(stderr, "%s\n", se_last_error());
 *     else
 *       printf("publish to rtmp://127.0.0.1:%d/live/demo\n", port);
 *     while (!done && se_engine_next_event(engine, 60000, &event) == SE_OK) {
 *       printf("%s\n", se_event_ref_get(event)->json);
 *       done = se_event_ref_get(event)->type == SE_EVENT_STREAM_ENDED;
 *       se_event_ref_free(event);
 *     }
 *     se_engine_free(engine);
 *
 * Conventions, which hold for every function unless its comment says otherwise:
 *
 * - Threads: any thread may call anything at any time, also free a handle that other threads use: their calls that
 *   are under way are carried out, those that wait wake up with `SE_E_CLOSED`, and so do calls that come too late. What
 *   is borrowed from a handle (`se_frame_ref_get`, `se_event_ref_get`, `se_auth_request_get`) goes with it.
 * - Blocking: a call returns at once, unless its comment says how long it may take.
 * - Results: `SE_OK` is 0, every error is negative. After an error `se_last_error()` has a text that names the
 *   object and the cause, and `se_last_status()` the code. Out-parameters are written on success only.
 * - NULL where a handle, a string or an out-parameter is required is `SE_E_INVALID_ARGUMENT`, never a crash. So is a
 *   handle of another type; one that has been freed is `SE_E_CLOSED`, freeing it again does nothing. An id (`se_id`) may
 *   be anything. Other pointers are trusted: strings, structures, what `se_string_free` gets.
 * - Strings in are NUL-terminated UTF-8 and copied before the call returns. Strings that a function returns as
 *   `char *` belong to the caller: `se_string_free`. `const char *` belong to the library.
 * - Handles are freed by the function named after them, in any order: those that were made from an engine may
 *   outlive it, their calls then give `SE_E_CLOSED`. Freeing NULL does nothing.
 * - Callbacks run on one thread per engine, one after the other, never under a lock of the engine, and every
 *   function may be called in them, except `se_engine_free` of the same engine. A slow one delays other callbacks of
 *   that engine, never media. `destroy(user_data)`, where given, is called exactly once, after the last call of the
 *   callback has returned, on every path, also where the function that takes it fails. A C++ exception must
 *   not leave a callback: it ends the process.
 * - Structures begin with `struct_size`: set it to `sizeof` of the structure that the program was compiled with,
 *   all else to zero. It lets programs work with newer libraries, which have longer structures.
 * - Signals: handlers of the program run on the program's threads: the engine's own threads block all signals, the
 *   callback thread, on which code of the program runs, SIGPIPE. The library touches no signal's disposition.
 * - fork(): a child has none of the library's threads. In it handles of the parent are `SE_E_STATE`, freeing them does
 *   nothing, and so it is with the log where the parent had one; configurations are as good as before. The child may
 *   make an engine of its own. It shares the parent's sockets until it calls exec() or ends.
 * - The library must stay loaded: `dlclose` does not unmap it.
 */


#ifndef STREAMENGINE_H
#define STREAMENGINE_H

#include <stddef.h>
#include <stdint.h>

/** The version that this header belongs to; compare `se_version_number()`. */
#define SE_VERSION_MAJOR 0
/** See SE_VERSION_MAJOR. */
#define SE_VERSION_MINOR 1
/** See SE_VERSION_MAJOR. */
#define SE_VERSION_PATCH 0
/** A version as one number that can be compared, also by the preprocessor. */
#define SE_MAKE_VERSION(major, minor, patch) ((major) * 0x10000u + (minor) * 0x100u + (patch))
/** The version of this header as one number. */
#define SE_VERSION_NUMBER SE_MAKE_VERSION(SE_VERSION_MAJOR, SE_VERSION_MINOR, SE_VERSION_PATCH)
/** Whether this header is of this version or a later one. */
#define SE_CHECK_VERSION(major, minor, patch) (SE_VERSION_NUMBER >= SE_MAKE_VERSION(major, minor, patch))

/** A time that is not set. */
#define SE_TIME_UNSET INT64_MIN

/** On every function. Define SE_STATIC where the static library is linked on Windows. */
#ifndef SE_API
#  if defined(_WIN32) && !defined(SE_STATIC)
#    define SE_API __declspec(dllimport)
#  elif defined(__GNUC__)
#    define SE_API __attribute__((visibility("default")))
#  else
#    define SE_API
#  endif
#endif

/** On functions whose result must be looked at. */
#ifndef SE_WARN_UNUSED
#  if defined(__GNUC__)
#    define SE_WARN_UNUSED __attribute__((warn_unused_result))
#  else
#    define SE_WARN_UNUSED
#  endif
#endif

/** On what goes away with the next major version. */
#ifndef SE_DEPRECATED
#  if defined(__GNUC__)
#    define SE_DEPRECATED(why) __attribute__((deprecated(why)))
#  else
#    define SE_DEPRECATED(why)
#  endif
#endif

/**
 * Flag of a frame: decoding can start here. On audio it says nothing.
 */
#define SE_FRAME_KEY 1

/**
 * Flag of a frame: it is no picture or sound but the decoder's configuration, or metadata.
 */
#define SE_FRAME_CONFIG 2

/**
 * Flag of a frame: no other frame refers to it.
 */
#define SE_FRAME_DISCARDABLE 4

/**
 * Flag of a frame, out only: frames are missing before it, because the reader was too slow. It may be on configuration,
 * which is repeated then.
 */
#define SE_FRAME_DISCONT 8

/**
 * For `se_stats_json`: the engine's counters, as `engine`.
 */
#define SE_STATS_ENGINE 1

/**
 * For `se_stats_json`: the listeners, as `listeners`.
 */
#define SE_STATS_LISTENERS 2

/**
 * For `se_stats_json`: the streams, as `streams`.
 */
#define SE_STATS_STREAMS 4

/**
 * For `se_stats_json`: the sessions, as `sessions`.
 */
#define SE_STATS_SESSIONS 8

/**
 * For `se_stats_json`: the relays, as `relays`.
 */
#define SE_STATS_RELAYS 16

/**
 * For `se_stats_json`: the file jobs, as `files`.
 */
#define SE_STATS_FILES 32

/**
 * For `se_stats_json`: the origins, as `origins`.
 */
#define SE_STATS_ORIGINS 64

/**
 * For `se_kick`: the stream's publisher.
 */
#define SE_KICK_PUBLISHER 1

/**
 * For `se_kick`: the stream's players.
 */
#define SE_KICK_PLAYERS 2

/**
 * What a call came to. 0 is success, every error is negative; new ones may be added.
 */
enum se_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Success.
   */
  SE_OK = 0,
  /**
   * An argument or a configuration value is not valid.
   */
  SE_E_INVALID_ARGUMENT = -1,
  /**
   * The call is not possible in the object's present state, such as on an engine that was not started.
   */
  SE_E_STATE = -2,
  /**
   * The stream, session, relay, file job, listener or file does not exist.
   */
  SE_E_NOT_FOUND = -3,
  /**
   * The name is taken: the stream already has a publisher.
   */
  SE_E_EXISTS = -4,
  /**
   * The peer, the codec or this build does not support what was asked for.
   */
  SE_E_UNSUPPORTED = -5,
  /**
   * The engine, stream or connection has been closed.
   */
  SE_E_CLOSED = -6,
  /**
   * Nothing to read right now.
   */
  SE_E_AGAIN = -7,
  /**
   * A deadline passed.
   */
  SE_E_TIMEOUT = -8,
  /**
   * A configured limit was reached.
   */
  SE_E_LIMIT = -9,
  /**
   * The call would wait for the thread that makes it.
   */
  SE_E_DEADLOCK = -10,
  /**
   * The operating system reported an error.
   */
  SE_E_IO = -20,
  /**
   * The address is in use by another listener.
   */
  SE_E_ADDRESS_IN_USE = -21,
  /**
   * The operating system denied access.
   */
  SE_E_PERMISSION = -22,
  /**
   * Memory ran out.
   */
  SE_E_NO_MEMORY = -23,
  /**
   * A host name could not be resolved.
   */
  SE_E_RESOLVE = -30,
  /**
   * The peer's host refused the connection.
   */
  SE_E_REFUSED = -31,
  /**
   * The peer closed or reset the connection.
   */
  SE_E_RESET = -32,
  /**
   * A TLS handshake or certificate failed.
   */
  SE_E_TLS = -33,
  /**
   * The peer broke the RTMP protocol.
   */
  SE_E_PROTOCOL = -40,
  /**
   * The peer refused what was asked, in its own words.
   */
  SE_E_REJECTED = -41,
  /**
   * The right to publish or play was not granted.
   */
  SE_E_AUTH = -42,
  /**
   * A file or a media payload is malformed.
   */
  SE_E_FORMAT = -43,
  /**
   * A bug in the engine.
   */
  SE_E_INTERNAL = -99,
  /**
   * A bug in the engine that was caught at the border of the library.
   */
  SE_E_PANIC = -100,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_status se_status;
#else
typedef int32_t se_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How the payload of a frame is coded. New ones may be added.
 */
enum se_codec
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * None, or (out) one without a number here: `flv_body` has all of it.
   */
  SE_CODEC_NONE = 0,
  /**
   * H.264 / AVC.
   */
  SE_CODEC_H264 = 1,
  /**
   * H.265 / HEVC.
   */
  SE_CODEC_HEVC = 2,
  /**
   * AV1.
   */
  SE_CODEC_AV1 = 3,
  /**
   * VP9.
   */
  SE_CODEC_VP9 = 4,
  /**
   * VP8.
   */
  SE_CODEC_VP8 = 5,
  /**
   * H.266 / VVC.
   */
  SE_CODEC_VVC = 6,
  /**
   * AAC.
   */
  SE_CODEC_AAC = 64,
  /**
   * MP3.
   */
  SE_CODEC_MP3 = 65,
  /**
   * Opus.
   */
  SE_CODEC_OPUS = 66,
  /**
   * FLAC.
   */
  SE_CODEC_FLAC = 67,
  /**
   * Dolby AC-3.
   */
  SE_CODEC_AC3 = 68,
  /**
   * Dolby E-AC-3.
   */
  SE_CODEC_EAC3 = 69,
  /**
   * G.711 A-law.
   */
  SE_CODEC_PCM_ALAW = 70,
  /**
   * G.711 mu-law.
   */
  SE_CODEC_PCM_MULAW = 71,
  /**
   * A data message such as `onMetaData`, in AMF0.
   */
  SE_CODEC_DATA = 128,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_codec se_codec;
#else
typedef int32_t se_codec;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The form in which the bytes of a frame are.
 */
enum se_format
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * As in FLV and MP4: NAL units with a 4-byte length before each (H.264, HEVC, VVC), raw AAC, AV1 as a temporal
   * unit of OBUs with sizes and without temporal delimiter. A frame with `SE_FRAME_CONFIG` is the decoder's
   * configuration record (avcC, hvcC, av1C, AudioSpecificConfig, OpusHead ...).
   */
  SE_FORMAT_NATIVE = 0,
  /**
   * H.264 and HEVC as a byte stream with start codes, one access unit a frame. In only. Parameter sets are taken
   * out of the stream; no configuration needs to be given.
   */
  SE_FORMAT_ANNEXB = 1,
  /**
   * AAC, one or more frames with an ADTS header before each. In only. No configuration needs to be given.
   */
  SE_FORMAT_ADTS = 2,
  /**
   * The body of one FLV tag as it is, of the kind that `flv_type` says. In only. Of the frame's other fields only the
   * decoding time is looked at.
   */
  SE_FORMAT_FLV = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_format se_format;
#else
typedef int32_t se_format;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happened. New ones may be added: ignore those that you do not know.
 */
enum se_event_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A listener is open. `id`: the listener; `peer`: its address; `message`: `rtmp`, `rtmps`, `http` or `https`.
   */
  SE_EVENT_LISTENER_OPENED = 1,
  /**
   * A listener is closed. As above.
   */
  SE_EVENT_LISTENER_CLOSED = 2,
  /**
   * A stream has got a publisher. `id`: its session, 0 where it is no connection; `message`: who it is.
   */
  SE_EVENT_STREAM_STARTED = 3,
  /**
   * A stream's publisher has left. `id`: its session, or 0; `message`: why.
   */
  SE_EVENT_STREAM_ENDED = 4,
  /**
   * A connection was accepted. `id`: the session; `peer`.
   */
  SE_EVENT_SESSION_OPENED = 5,
  /**
   * A connection has ended. `id`: the session; `peer`; `message`: why.
   */
  SE_EVENT_SESSION_CLOSED = 6,
  /**
   * A player has joined a stream. `id`: its session; `peer`.
   */
  SE_EVENT_PLAY_STARTED = 7,
  /**
   * A player has left a stream. `id`: its session; `message`: why.
   */
  SE_EVENT_PLAY_ENDED = 8,
  /**
   * A request of a peer was refused. `id`: its session; `peer`; `status`: `SE_E_AUTH`; `message`: why.
   */
  SE_EVENT_REFUSED = 9,
  /**
   * A relay has changed its state. `id`: the relay; `status`: why the last attempt failed, or `SE_OK`; `peer`: the
   * remote URL without its secrets; `message`: the state and that failure in words.
   */
  SE_EVENT_RELAY_STATE = 10,
  /**
   * A file job has changed its state. `id`: the job; `status`: `SE_OK`, or `SE_E_FORMAT` where it has failed; `peer`:
   * the file; `message`: the state and the failure in words.
   */
  SE_EVENT_FILE_STATE = 11,
  /**
   * Events were dropped before this one, because they were not fetched in time. `message`: how many.
   */
  SE_EVENT_LAGGED = 12,
  /**
   * Lines of the log were dropped, because its callback does not keep up. `message`: how many since the last such event.
   */
  SE_EVENT_LOG_LAGGED = 13,
  /**
   * A recording has begun, goes on in another file, or has changed its state. `id`: the recording; `status`: `SE_OK`, or `SE_E_IO`
   * where it stands still; `peer`: the file; `message`: the state and the failure in words.
   */
  SE_EVENT_RECORDING_STATE = 14,
  /**
   * A file of a recording is whole. `id`: the recording; `peer`: the file.
   */
  SE_EVENT_RECORDING_FILE = 15,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_event_type se_event_type;
#else
typedef int32_t se_event_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which way a relay carries its stream.
 */
enum se_relay_direction
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A local stream is published on a remote server.
   */
  SE_RELAY_PUSH = 1,
  /**
   * A remote stream is played and published locally.
   */
  SE_RELAY_PULL = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_relay_direction se_relay_direction;
#else
typedef int32_t se_relay_direction;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a relay stands. New ones may be added.
 */
enum se_relay_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing to do: nobody publishes the local stream (push), or nobody watches (pull on demand).
   */
  SE_RELAY_IDLE = 0,
  /**
   * Looking up the host's addresses.
   */
  SE_RELAY_RESOLVING = 1,
  /**
   * Opening a connection, with TLS where the URL says so.
   */
  SE_RELAY_CONNECTING = 2,
  /**
   * RTMP handshake and commands, up to the granted `publish` or `play`.
   */
  SE_RELAY_HANDSHAKING = 3,
  /**
   * Push: the target takes the stream.
   */
  SE_RELAY_PUBLISHING = 4,
  /**
   * Pull: the upstream sends the stream.
   */
  SE_RELAY_PLAYING = 5,
  /**
   * The connection stands but nothing moves; it is given up if that lasts.
   */
  SE_RELAY_STALLED = 6,
  /**
   * Waiting before the next attempt.
   */
  SE_RELAY_BACKING_OFF = 7,
  /**
   * Given up for good: the peer refused, and `on_refusal` is `fail`, or `max_retries` attempts have failed.
   * `se_relay_restart` tries again.
   */
  SE_RELAY_FAILED = 8,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_relay_state se_relay_state;
#else
typedef int32_t se_relay_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How important a line of the log is.
 */
enum se_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Nothing at all.
   */
  SE_LOG_OFF = 0,
  /**
   * Something does not work.
   */
  SE_LOG_ERROR = 1,
  /**
   * Something may not work as intended.
   */
  SE_LOG_WARN = 2,
  /**
   * What an operator wants to know.
   */
  SE_LOG_INFO = 3,
  /**
   * What a developer wants to know.
   */
  SE_LOG_DEBUG = 4,
  /**
   * Everything.
   */
  SE_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_log_level se_log_level;
#else
typedef int32_t se_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a file job stands. New ones may be added.
 */
enum se_file_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * It plays.
   */
  SE_FILE_PLAYING = 1,
  /**
   * All loops have been played, and the stream has ended.
   */
  SE_FILE_FINISHED = 2,
  /**
   * It was asked to stop; the stream has ended.
   */
  SE_FILE_STOPPED = 3,
  /**
   * It had to end.
   */
  SE_FILE_FAILED = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_file_state se_file_state;
#else
typedef int32_t se_file_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a stream is in its life.
 */
enum se_stream_state
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Subscribers wait; nobody has published yet.
   */
  SE_STREAM_IDLE = 0,
  /**
   * It has a publisher.
   */
  SE_STREAM_LIVE = 1,
  /**
   * The publisher was lost and may return within the resume window.
   */
  SE_STREAM_AWAY = 2,
  /**
   * It is over.
   */
  SE_STREAM_ENDED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_stream_state se_stream_state;
#else
typedef int32_t se_stream_state;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a peer asks for.
 */
enum se_auth_action
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * To publish a stream.
   */
  SE_AUTH_PUBLISH = 1,
  /**
   * To play a stream.
   */
  SE_AUTH_PLAY = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_auth_action se_auth_action;
#else
typedef int32_t se_auth_action;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an authorisation callback returns; any other number refuses.
 */
enum se_auth_verdict
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * Refuse.
   */
  SE_AUTH_DENY = 0,
  /**
   * Grant.
   */
  SE_AUTH_ALLOW = 1,
  /**
   * The program keeps the request and answers with `se_auth_request_reply`, `se_auth_request_grant_json` or
   * `se_auth_request_pass`, from any thread.
   */
  SE_AUTH_DEFER = 2,
  /**
   * Say nothing: the configuration's rule decides.
   */
  SE_AUTH_PASS = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_auth_verdict se_auth_verdict;
#else
typedef int32_t se_auth_verdict;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * By which service a request comes in. New ones may be added.
 */
enum se_door
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /**
   * A connection that speaks RTMP.
   */
  SE_DOOR_RTMP = 1,
  /**
   * A player that gets FLV in the reply to an HTTP request.
   */
  SE_DOOR_HTTP_FLV = 2,
  /**
   * A player that gets FLV or MP4 in the messages of a WebSocket.
   */
  SE_DOOR_WEBSOCKET = 3,
  /**
   * A player that gets MP4 in the reply to an HTTP request.
   */
  SE_DOOR_HTTP_MP4 = 4,
  /**
   * A player that asks for playlists and segments of HLS.
   */
  SE_DOOR_HLS = 5,
  /**
   * Somebody who asks for recordings of a stream.
   */
  SE_DOOR_RECORDING = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum se_door se_door;
#else
typedef int32_t se_door;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A request to publish or play that waits for its answer.
 */
typedef struct se_auth_request se_auth_request;

/**
 * Settings: of an engine, or of one publisher, subscriber, relay or file. The keys are those of the TOML
 * configuration (`examples/streamengine.toml` explains each), with dots for sections.
 *
 * - Of an engine: `limits.ring_ms`, `default_app.flush`, `apps.live.takeover`, `rtmp.listen`, `publish.key` ...;
 *   `push`, `pull` and `file` as JSON arrays of objects, `origins` as an object of objects.
 * - Of a relay push: the keys of `[[push]]`: `on_refusal`, `retry`, `max_retries`, `connect_timeout_ms`,
 *   `write_timeout_ms`, `tls`, `stop_commands`, `from_zero`, `chunk_size`, `connect`.
 * - Of a relay pull: the keys of `[[pull]]`: `on_refusal`, `retry`, `max_retries`, `connect_timeout_ms`, `tls`, `connect`,
 *   `when`, `linger_ms`.
 * - Of a file: the keys of `[[file]]`: `paths`, `loops`.
 * - Of a publisher: `takeover`, `resume_window_ms`, `start`, `max_start_bytes`, `max_queue_ms`, `max_queue_bytes`,
 *   `keyframe_wait_ms`, `ring_bytes`. Of a subscriber: `start`, `back_ms`, `wait_for_publisher_ms`.
 *
 * What is in an option has dots too: `retry.min_ms`, `tls.ca`, `connect.swfUrl`. `tls` is both, of an engine and of a
 * relay.
 *
 * Without `apps` every app exists, with the policy of `default_app`; as soon as one is listed, all others are refused.
 *
 * Functions that take one copy it.
 */
typedef struct se_config se_config;

/**
 * An RTMP engine: serves, relays and loops live streams. Several can live in one process.
 */
typedef struct se_engine se_engine;

/**
 * An event that the program has fetched.
 */
typedef struct se_event_ref se_event_ref;

/**
 * A frame that the program holds: counted, not copied.
 */
typedef struct se_frame_ref se_frame_ref;

/**
 * A stream that the program publishes. Several threads may push into one; frames are in the order of the calls.
 */
typedef struct se_publisher se_publisher;

/**
 * A stream that the program reads. First come metadata and decoder configuration (`SE_FRAME_CONFIG`), then frames from
 * the start position, video from a keyframe. A reader that falls behind by more than `limits.ring_ms` goes on at the
 * newest keyframe (`SE_FRAME_DISCONT`); at the `limits.max_lags`th time within a minute its stream ends.
 */
typedef struct se_subscriber se_subscriber;

/**
 * One line of the log. Texts are borrowed: valid until the callback returns.
 */
typedef struct se_log_record {
  /**
   * The size of this structure in the library: fields behind it are not there.
   */
  size_t struct_size;
  /**
   * One of `se_log_level`.
   */
  int32_t level;
  /**
   * Not used.
   */
  int32_t reserved;
  /**
   * When, in microseconds since 1970 (UTC).
   */
  uint64_t time_us;
  /**
   * The part of the library that speaks: `rtmp`, `relay`, `net` ...
   */
  const char *target;
  /**
   * The line, with its values behind it: `file plays stream=live/clip file=clip.flv`. Without secrets, and on one line.
   */
  const char *message;
} se_log_record;

/**
 * Called with one line of the log, on the log's own thread.
 */
typedef void (*se_log_fn)(const struct se_log_record *record, void *user_data);

/**
 * Called once when the library needs `user_data` no more, after the last call of the callback it came with. May be
 * called on the callback thread, or inside the call that replaces or removes the callback. It must not free the
 * engine that it belongs to.
 */
typedef void (*se_destroy_fn)(void *user_data);

/**
 * What the engine owns and may vanish on its own: a listener, relay, file job, recording or session. Unique in the process and
 * never used again, so one that is out of date is `SE_E_NOT_FOUND`. 0 is none.
 */
typedef uint64_t se_id;

/**
 * Something that happened. Texts are never NULL, but empty where there is nothing to say; they are borrowed: valid as
 * long as the callback runs, or the reference lives.
 */
typedef struct se_event {
  /**
   * The size of this structure in the library: fields behind it are not there.
   */
  size_t struct_size;
  /**
   * One of `se_event_type`.
   */
  int32_t type;
  /**
   * An `se_status`: what the event says about success.
   */
  int32_t status;
  /**
   * The listener, session, relay, file job or recording; 0 where there is none.
   */
  se_id id;
  /**
   * When it happened, in microseconds since 1970 (UTC).
   */
  uint64_t time_us;
  /**
   * The stream, `app/stream`.
   */
  const char *stream;
  /**
   * The address of who is at the other end.
   */
  const char *peer;
  /**
   * What there is to say, in words.
   */
  const char *message;
  /**
   * All of it as a JSON object: `time_us`, `event` (its name), and what belongs to it:
   * `listener-opened` and `listener-closed`: `id`, `protocol`, `address`; `session-opened`: `session`, `peer`;
   * `session-closed`: `session`, `peer`, `reason`; `stream-started`: `stream`, `session` (or null), `source`;
   * `stream-ended`: `stream`, `session` (or null), `reason`; `play-started`: `stream`, `session`, `peer`,
   * `door` (`rtmp`, `http-flv`, `http-mp4`, `websocket`, `hls`, `recording`); `play-ended`:
   * `stream`, `session`, `reason`, `bytes_sent`, `frames_dropped`, `played_ms`; `refused`: `session`, `peer`, `request`
   * (`connect`, `publish`, `play`), `stream` (or null), `reason`; `relay-state`: as in `se_relays_json`; `file-state`: as
   * in `se_files_json`; `recording-state`: as in `se_recordings_json`; `recording-file`: `recording`, `stream`, `path`, `start`, `bytes`,
   * `length_ms`, `is_growing`; `lagged` and `log-lagged`: `lost`.
   */
  const char *json;
} se_event;

/**
 * Called on the callback thread with one event, which is valid until the callback returns.
 */
typedef void (*se_event_fn)(const struct se_event *event, void *user_data);

/**
 * One audio or video frame, or a data message, in both directions.
 */
typedef struct se_frame {
  /**
   * `sizeof(se_frame)`.
   */
  size_t struct_size;
  /**
   * One of `se_codec`.
   */
  int32_t codec;
  /**
   * One of `se_format`; out always `SE_FORMAT_NATIVE`.
   */
  int32_t format;
  /**
   * The track: 0 unless the stream has several of a kind. Audio and video are counted apart.
   */
  uint32_t track;
  /**
   * `SE_FRAME_KEY` and others, or-ed. In: keyframes are also found out from the data, of all codecs but VVC.
   */
  uint32_t flags;
  /**
   * When it is shown, in nanoseconds; `SE_TIME_UNSET` is `dts_ns`. RTMP carries whole milliseconds: it is rounded
   * to them.
   */
  int64_t pts_ns;
  /**
   * When it is decoded, in nanoseconds; `SE_TIME_UNSET` is `pts_ns`. Must not decrease within a track.
   */
  int64_t dts_ns;
  /**
   * The payload in the form of `format`. Out: borrowed, valid as long as the callback runs or the reference lives.
   * Out, where `codec` is `SE_CODEC_NONE`: empty.
   */
  const uint8_t *data;
  /**
   * Bytes in `data`.
   */
  size_t len;
  /**
   * Out only: the body of the FLV tag (of the RTMP message), byte for byte as it was published. `data` lies in it. Where
   * one tag holds frames of several tracks, it is with the first of them only.
   */
  const uint8_t *flv_body;
  /**
   * Bytes in `flv_body`.
   */
  size_t flv_body_len;
  /**
   * The type of that tag: 8 for audio, 9 for video, 18 for data (script). In only with `SE_FORMAT_FLV`.
   */
  int32_t flv_type;
  /**
   * Not used.
   */
  int32_t reserved;
} se_frame;

/**
 * Called exactly once, on any thread, when the library needs the bytes of a `_ref` call no more. It must be quick and
 * must not call the library.
 */
typedef void (*se_release_fn)(void *user_data);

/**
 * Called on the callback thread with one frame, which is valid until the callback returns, and once with NULL at the end
 * of the stream: then `se_last_error` says why it ended.
 *
 * @param frame The frame; NULL at the end of the stream.
 * @param frame_ref The same as a reference, borrowed: to keep the frame without a copy, `se_frame_ref_clone` it. NULL at
 * the end.
 * @param user_data As given.
 */
typedef void (*se_frame_fn)(const struct se_frame *frame,
                            const struct se_frame_ref *frame_ref,
                            void *user_data);

/**
 * A relay's present condition.
 */
typedef struct se_relay_status {
  /**
   * `sizeof(se_relay_status)`.
   */
  size_t struct_size;
  /**
   * The relay.
   */
  se_id id;
  /**
   * One of `se_relay_direction`.
   */
  int32_t direction;
  /**
   * One of `se_relay_state`.
   */
  int32_t state;
  /**
   * An `se_status`: why the last attempt failed; `SE_OK` where none has since media has flowed.
   */
  int32_t last_error;
  /**
   * Not used.
   */
  int32_t reserved;
  /**
   * How long it has been in this state, in milliseconds.
   */
  uint64_t since_ms;
  /**
   * Attempts begun in all.
   */
  uint64_t attempts;
  /**
   * Attempts that followed a failed one.
   */
  uint64_t retries;
  /**
   * Bytes written to the peer, over all connections.
   */
  uint64_t bytes_sent;
  /**
   * Of these, bytes that the peer's acknowledgements cover; 0 from a peer that sends none.
   */
  uint64_t bytes_acknowledged;
  /**
   * Bytes read from the peer, over all connections.
   */
  uint64_t bytes_received;
  /**
   * Media messages sent (push) or received (pull), over all connections.
   */
  uint64_t frames;
  /**
   * The local stream.
   */
  char stream[260];
  /**
   * The remote stream's URL without its secrets; cut where it is longer.
   */
  char url[512];
  /**
   * `last_error` in words, the peer's own among them; cut where it is longer.
   */
  char last_error_text[512];
} se_relay_status;

/**
 * State and progress of one file job.
 */
typedef struct se_file_status {
  /**
   * `sizeof(se_file_status)`.
   */
  size_t struct_size;
  /**
   * The job.
   */
  se_id id;
  /**
   * One of `se_file_state`.
   */
  int32_t state;
  /**
   * Not used.
   */
  int32_t reserved;
  /**
   * Loops finished.
   */
  uint64_t loops_done;
  /**
   * Media time sent since the start, over all loops, in milliseconds.
   */
  uint64_t position_ms;
  /**
   * Media messages sent.
   */
  uint64_t frames;
  /**
   * The local stream.
   */
  char stream[260];
  /**
   * Why it failed, where it has; cut where it is longer.
   */
  char error[512];
} se_file_status;

/**
 * Called on the callback thread for each request to publish or play. An answer that takes time should be deferred, as
 * all callbacks of the engine wait for this one. A request that has no answer within `limits.auth_timeout_ms` is refused.
 *
 * @param request Borrowed: gone when the callback returns, unless that returns `SE_AUTH_DEFER`; then it belongs to the
 * program, which must answer it once (that may be done before the callback returns).
 * @param user_data As given.
 * @return One of `se_auth_verdict`.
 */
typedef int32_t (*se_auth_fn)(struct se_auth_request *request, void *user_data);

/**
 * All that is known of who asks. Texts are never NULL, but empty where there is nothing; they are borrowed: valid as
 * long as the request. Those marked "secret" should not be logged.
 */
typedef struct se_auth_info {
  /**
   * `sizeof(se_auth_info)`.
   */
  size_t struct_size;
  /**
   * One of `se_auth_action`.
   */
  int32_t action;
  /**
   * Whether the connection is encrypted: 0 or 1.
   */
  int32_t tls;
  /**
   * The stream, `app/stream`, without secret and query.
   */
  const char *stream;
  /**
   * The peer's address and port.
   */
  const char *peer;
  /**
   * The text behind a colon in the stream name (`STREAM:SECRET`). Secret.
   */
  const char *secret;
  /**
   * The query of the stream name or, without one, of the app (`key=KEY&user=NAME`), not decoded. Secret.
   */
  const char *query;
  /**
   * The software that the peer claims to be (`flashVer` of `connect`, `User-Agent` of HTTP).
   */
  const char *agent;
  /**
   * The URL that the peer says it has connected to (`tcUrl` of `connect`). Secret.
   */
  const char *tc_url;
  /**
   * The page that the peer says it is on (`pageUrl` of `connect`, `Referer` of HTTP). Secret.
   */
  const char *page_url;
  /**
   * One of `se_door`; 0 for one that has no number yet.
   */
  int32_t door;
  /**
   * Not used.
   */
  int32_t reserved;
  /**
   * The site whose page asks, as browsers say (`Origin` of HTTP).
   */
  const char *origin;
} se_auth_info;

/**
 * An engine's counters at one moment.
 */
typedef struct se_engine_stats {
  /**
   * `sizeof(se_engine_stats)`.
   */
  size_t struct_size;
  /**
   * Time since the start, in milliseconds.
   */
  uint64_t uptime_ms;
  /**
   * Connections accepted since the start.
   */
  uint64_t connections_accepted;
  /**
   * Connections turned away since the start, because too many had not published or played yet.
   */
  uint64_t connections_rejected;
  /**
   * Connections at present.
   */
  uint64_t connections;
  /**
   * Of these, publishers.
   */
  uint64_t publishers;
  /**
   * Of these, players.
   */
  uint64_t players;
  /**
   * Streams that have a publisher.
   */
  uint64_t streams_live;
  /**
   * Bytes received on all connections that were accepted.
   */
  uint64_t bytes_in;
  /**
   * Bytes sent on them.
   */
  uint64_t bytes_out;
  /**
   * Bytes kept of all streams for players that join or lag.
   */
  uint64_t ring_bytes;
  /**
   * Tasks that panicked: each cost one connection, relay attempt or file job, and each is a bug to report.
   */
  uint64_t panics;
  /**
   * Events dropped because the program did not fetch them in time.
   */
  uint64_t events_lost;
} se_engine_stats;

/**
 * Facts and counters of one stream at one moment.
 */
typedef struct se_stream_stats {
  /**
   * `sizeof(se_stream_stats)`.
   */
  size_t struct_size;
  /**
   * One of `se_stream_state`.
   */
  int32_t state;
  /**
   * Not used.
   */
  int32_t reserved;
  /**
   * Time since the first publisher was let in, in milliseconds.
   */
  uint64_t uptime_ms;
  /**
   * Subscribers at present: players, relay pushes and those of the program.
   */
  uint64_t subscribers;
  /**
   * Payload bytes received, all frames.
   */
  uint64_t bytes_in;
  /**
   * Audio frames received, configuration not counted.
   */
  uint64_t audio_frames;
  /**
   * Video frames received, configuration not counted.
   */
  uint64_t video_frames;
  /**
   * Keyframes received.
   */
  uint64_t keyframes;
  /**
   * Stream time of the newest frame in milliseconds; `SE_TIME_UNSET` where there is none.
   */
  int64_t timestamp_ms;
  /**
   * Time since the newest frame in milliseconds; `SE_TIME_UNSET` where there is none.
   */
  int64_t silence_ms;
  /**
   * Times a publisher was replaced or returned within the resume window.
   */
  uint64_t resumes;
  /**
   * Times a subscriber fell behind and went on at the newest keyframe.
   */
  uint64_t lags;
  /**
   * Frames that subscribers missed by that.
   */
  uint64_t frames_skipped;
  /**
   * Frames kept for players that join or lag.
   */
  uint64_t ring_frames;
  /**
   * Their bytes, a fixed overhead per frame included.
   */
  uint64_t ring_bytes;
} se_stream_stats;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library as one number; compare with `SE_VERSION_NUMBER` of the header.
 */
SE_API uint32_t se_version_number(void);

/**
 * The version of the library: `"0.1.0"`.
 *
 * @return Never NULL, valid for ever.
 */
SE_API const char *se_version_string(void);

/**
 * What the library was built as, in JSON: `version`, `commit` (null where unknown), `profile`, `target`, `tls`, `http`
 * (whether `se_listen_http` works), `player` (whether the pages of streams have a player) and `codecs`.
 *
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_build_info_json(void);

/**
 * Frees a string that a function returned as `char *`.
 *
 * @param string The string, which is gone then; NULL does nothing.
 */
SE_API void se_string_free(char *string);

/**
 * The text of the latest error of the calling thread.
 *
 * @return Never NULL; empty where no call of this thread has failed. Valid until the next call on this thread fails.
 */
SE_API
const char *se_last_error(void);

/**
 * The code of the latest error of the calling thread: for functions that return a pointer or a number.
 *
 * @return `SE_OK` where no call of this thread has failed. Success does not change it.
 */
SE_API
se_status se_last_status(void);

/**
 * The name of a code: `"SE_E_ADDRESS_IN_USE"`.
 *
 * @param status Any number; for one that is no code the answer is `"SE_E_UNKNOWN"`.
 * @return Never NULL, valid for ever.
 */
SE_API const char *se_status_name(int32_t status);

/**
 * Has the log of all engines of the process delivered to a callback. Without one there is no log. In the place of the
 * callback before it, whose `destroy` is called once it has returned. Lines are delivered on one thread of their own, so a
 * slow callback delays no media; up to 4,096 lines wait for it, then the oldest are lost: a line says how many once it goes
 * on, and every engine says so at once (`SE_EVENT_LOG_LAGGED`). Where there was a callback before, the call blocks for up to
 * 2 s until it has got the lines that wait for it, except in that callback itself.
 *
 * @param max_level The level up to which lines are delivered, one of `se_log_level`; `se_log_set_filter` can say more.
 * @param callback Called on the log's thread; NULL ends the log.
 * @param user_data For the callback.
 * @param destroy Called when `user_data` is needed no more; may be NULL.
 * @return `SE_E_INVALID_ARGUMENT` for another level, `SE_E_EXISTS` where the program is written in Rust and collects
 * traces itself: then they go there; `SE_E_STATE` in a child of `fork()` whose parent had a log.
 */
SE_API
se_status se_log_set_callback(int32_t max_level,
                              se_log_fn callback,
                              void *user_data,
                              se_destroy_fn destroy);

/**
 * Says which lines are delivered, in place of the level given before. May be called at any time.
 *
 * @param directives A level (`off`, `error`, `warn`, `info`, `debug`, `trace`), or several with commas, for parts of
 * the library: `"info,rtmp=debug,net=warn"`. Parts: `rtmp`, `relay`, `file_loop`, `egress`, `hub`, `net`, `proto`, `media`,
 * `engine`, `ffi`, or the path of a Rust module.
 * @return `SE_E_INVALID_ARGUMENT` for what cannot be read; the filter stays as it was.
 */
SE_API
se_status se_log_set_filter(const char *directives);

/**
 * An empty configuration: everything is at its default.
 *
 * @return To be freed with `se_config_free`; NULL on error.
 */
SE_API SE_WARN_UNUSED struct se_config *se_config_new(void);

/**
 * Frees a configuration.
 *
 * @param config NULL does nothing.
 */
SE_API void se_config_free(struct se_config *config);

/**
 * Sets one value.
 *
 * @param config The configuration.
 * @param key A key such as `"limits.ring_ms"`.
 * @param value The value as text: `"5000"`, `"true"`, `"merge"`; lists as JSON (`["127.0.0.1:0"]`) or, of addresses,
 * with commas (`"127.0.0.1:0,[::1]:0"`). Times are in milliseconds, sizes in bytes.
 * @return `SE_E_INVALID_ARGUMENT` for a key that does not exist (the text names it, and the nearest that does) or a
 * value that does not fit. Nothing is changed then.
 */
SE_API
se_status se_config_set(struct se_config *config,
                        const char *key,
                        const char *value);

/**
 * Sets many values: a JSON object in the shape of the TOML configuration, or of the options of one object. What it
 * does not name is left as it is; arrays replace.
 *
 * @param config The configuration.
 * @param json `{"rtmp": {"listen": ["127.0.0.1:0"]}, "limits": {"ring_ms": 5000}}`.
 * @return `SE_E_INVALID_ARGUMENT` as in `se_config_set`, and for text that is not JSON. Nothing is changed then.
 */
SE_API
se_status se_config_load_json(struct se_config *config,
                              const char *json);

/**
 * The effective values of all settings of an engine, defaults included, in the shape that `se_config_load_json`
 * reads; beside them, as `options`, those of one object that have been set. Of a secret only whether it is set is
 * shown: `"***"` or null.
 *
 * @param config The configuration.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_config_dump_json(const struct se_config *config);

/**
 * Makes an engine that is not started: no thread and no socket yet.
 *
 * @param config Its settings, copied; NULL for the defaults.
 * @param out The engine, to be freed with `se_engine_free`.
 * @return `SE_E_INVALID_ARGUMENT` for settings that exclude or need each other.
 */
SE_API
SE_WARN_UNUSED
se_status se_engine_new(const struct se_config *config,
                        struct se_engine **out);

/**
 * Starts the engine's threads, opens the listeners that the configuration names, starts its relays and files. Takes as
 * long as reading those files through once.
 *
 * @param engine The engine.
 * @return `SE_E_STATE` where it is started already; `SE_E_ADDRESS_IN_USE`, `SE_E_PERMISSION` and others of
 * listeners; `SE_E_NOT_FOUND`, `SE_E_FORMAT` of files. Nothing is left running then.
 */
SE_API
SE_WARN_UNUSED
se_status se_engine_start(struct se_engine *engine);

/**
 * Gives a running engine another configuration, and does what is different: opens and closes listeners, begins, changes and
 * ends relays, files and origins, and goes by other rules, policies and limits. What is the same is not touched, nobody is
 * cut off by it, and what the program has begun itself stays. All of it is done, or nothing where a part is wrong. Reads new
 * media files through before it returns.
 *
 * @param engine A started engine.
 * @param config All of its settings, copied, not only those that change; NULL for the defaults.
 * @return What is different, to be freed with `se_string_free`: `{"changes": [{"key": "limits.ring_ms", "entry": null,
 * "kind": "changed", "effect": "at-once"}]}`. `kind` is `added`, `removed` or `changed`; `effect` `at-once`, `from-now-on`
 * (for what begins from now on) or `after-restart` (until `se_engine_stop` and `se_engine_start`, the old value holds).
 * NULL on error; `se_last_status` is one of those of `se_engine_start`, `SE_E_STATE` where it is not started, or `SE_E_CLOSED`
 * while it stops.
 */
SE_API
SE_WARN_UNUSED
char *se_engine_reload(struct se_engine *engine,
                       const struct se_config *config);

/**
 * Stops the engine in good order: no new connections, publishers and players are told, relays unpublish; what has been
 * published before the call still reaches players and relay targets, as far as they take it within `drain_ms`. Then
 * everything is gone, also publishers and subscribers of the program: their calls give `SE_E_CLOSED`. The engine can be
 * started again, with the same callbacks. Blocks for up to `drain_ms`, and up to 2 s for threads to end.
 *
 * @param engine The engine.
 * @param drain_ms How long good order may take, in milliseconds; 0 cuts everything at once.
 * @return `SE_E_STATE` where it is not started; `SE_E_TIMEOUT` where some connection did not end in time and was cut: it
 * is stopped all the same.
 */
SE_API
se_status se_engine_stop(struct se_engine *engine,
                         uint32_t drain_ms);

/**
 * Stops the engine at once, waits until its threads have ended, and frees it. A blocked `se_engine_next_event` wakes up
 * with `SE_E_CLOSED`. Publishers, subscribers, frames, events and authorisation requests stay valid until they are freed
 * themselves. Blocks for up to 4 s; where a callback does not return in that time, it and its `user_data` are left to
 * the callback thread.
 *
 * In a callback of the same engine it would wait for itself: then it does nothing but set `se_last_error`
 * (`SE_E_DEADLOCK`) and log an error, and the engine lives on. Use `se_engine_stop` there.
 *
 * @param engine NULL does nothing.
 */
SE_API
void se_engine_free(struct se_engine *engine);

/**
 * Has events delivered to a callback, those that wait first. May be called before the start and at any time. In the
 * place of the callback before it, whose `destroy` is called once it has returned. While there is a callback,
 * `se_engine_next_event` has nothing.
 *
 * @param engine The engine.
 * @param callback Called on the callback thread; NULL leaves events to `se_engine_next_event` again.
 * @param user_data For the callback.
 * @param destroy Called when `user_data` is needed no more; may be NULL.
 * @return `SE_E_CLOSED` while the engine is being freed.
 */
SE_API
se_status se_engine_set_event_callback(struct se_engine *engine,
                                       se_event_fn callback,
                                       void *user_data,
                                       se_destroy_fn destroy);

/**
 * Takes the next event. Blocks for up to `timeout_ms`.
 *
 * Events wait from the first start on, also those of the start itself. Up to 4,096 that peers cause (sessions, players,
 * refusals) are kept, and up to 65,536 in all; then the oldest are dropped, which is told by an
 * `SE_EVENT_LAGGED`.
 *
 * @param engine The engine.
 * @param timeout_ms 0 does not wait, below 0 waits for ever.
 * @param out The event, to be freed with `se_event_ref_free`.
 * @return `SE_E_AGAIN` where there is none and `timeout_ms` is 0, `SE_E_TIMEOUT` where none came in time, `SE_E_STATE`
 * while there is an event callback, `SE_E_CLOSED` when the engine is freed meanwhile.
 */
SE_API
SE_WARN_UNUSED
se_status se_engine_next_event(struct se_engine *engine,
                               int32_t timeout_ms,
                               struct se_event_ref **out);

/**
 * A descriptor for `poll`, `select`, or an event loop, that is readable while `se_engine_next_event` has something. It
 * belongs to the engine: neither read from it nor close it.
 *
 * @param engine The engine.
 * @return -1 on error, and on systems that have no such descriptors (`SE_E_UNSUPPORTED`).
 */
SE_API
int se_engine_event_fd(struct se_engine *engine);

/**
 * Looks at an event.
 *
 * @param event The event.
 * @return Valid until the event is freed; NULL on error.
 */
SE_API const struct se_event *se_event_ref_get(const struct se_event_ref *event);

/**
 * Frees an event.
 *
 * @param event NULL does nothing.
 */
SE_API void se_event_ref_free(struct se_event_ref *event);

/**
 * Opens an RTMP listener. It is open when the call returns: streams are published to and played from
 * `rtmp://HOST:PORT/app/stream`. As long as neither an authorisation callback nor the configuration (`publish.key`,
 * `publish.open`) says otherwise, only this machine may publish, and everybody may play.
 *
 * @param engine A started engine.
 * @param address `"HOST:PORT"` with a numeric host: `"0.0.0.0:1935"`, `"[::]:1935"`, `"127.0.0.1:0"`. Port 0 takes
 * any free one.
 * @param out The listener; may be NULL.
 * @param out_port The port really bound; may be NULL.
 * @return `SE_E_INVALID_ARGUMENT` for what is no address, `SE_E_ADDRESS_IN_USE`, `SE_E_PERMISSION`, `SE_E_IO`;
 * `SE_E_STATE` on an engine that is not started.
 */
SE_API
se_status se_listen_rtmp(struct se_engine *engine,
                         const char *address,
                         se_id *out,
                         uint16_t *out_port);

/**
 * Opens an RTMPS (TLS) listener.
 *
 * @param engine A started engine.
 * @param address As in `se_listen_rtmp`.
 * @param cert The certificate chain in PEM form: the text itself, or the path of a file. Files are read again when they
 * change.
 * @param key The private key in PEM form, likewise.
 * @param out The listener; may be NULL.
 * @param out_port The port really bound; may be NULL.
 * @return As `se_listen_rtmp`; `SE_E_NOT_FOUND`, `SE_E_FORMAT` or `SE_E_TLS` for a certificate or key that cannot be
 * used.
 */
SE_API
se_status se_listen_rtmps(struct se_engine *engine,
                          const char *address,
                          const char *cert,
                          const char *key,
                          se_id *out,
                          uint16_t *out_port);

/**
 * Opens a listener for players over HTTP, or over HTTPS where a certificate is given. Every stream is
 * `http://HOST:PORT/app/stream.flv` there (also `.live.flv`, and `/live?app=APP&stream=STREAM`), as fragments of MP4
 * `http://HOST:PORT/app/stream.mp4`, and on the same URLs with `ws://` it comes in the messages of a WebSocket, which players
 * in browsers can take too. Nothing is published here.
 * `http://HOST:PORT/play/app/stream` is a page that plays it, `http://HOST:PORT/streams` lists what is live (the key `http.index`
 * of the configuration), and `http://HOST:PORT/` is the dashboard (`http.dashboard`), in libraries that npm was there to make it
 * for. The player is in the library too (`player` in `se_build_info_json`).
 *
 * @param engine A started engine.
 * @param address As in `se_listen_rtmp`.
 * @param cert As in `se_listen_rtmps`; NULL, with `key`, for plain HTTP.
 * @param key As in `se_listen_rtmps`.
 * @param out The listener; may be NULL.
 * @param out_port The port really bound; may be NULL.
 * @return As `se_listen_rtmps`; `SE_E_UNSUPPORTED` from a library that was built without HTTP (`http` in
 * `se_build_info_json`).
 */
SE_API
se_status se_listen_http(struct se_engine *engine,
                         const char *address,
                         const char *cert,
                         const char *key,
                         se_id *out,
                         uint16_t *out_port);

/**
 * Says whether `http://HOST:PORT/` is the dashboard, on all HTTP listeners, or what is live. It is the key `http.dashboard` of the
 * configuration; on at first. An engine that runs goes by it at once.
 *
 * @param engine The engine, started or not.
 * @param enabled Not 0 for yes.
 * @return `SE_E_UNSUPPORTED` from a library that was built without HTTP.
 */
SE_API
se_status se_http_set_dashboard(struct se_engine *engine,
                                int32_t enabled);

/**
 * Gives a listener with TLS (RTMPS or HTTPS) another certificate and key, for connections from now on.
 *
 * @param engine A started engine.
 * @param listener The listener.
 * @param cert As in `se_listen_rtmps`; NULL, with `key`, to read the files again that are in use.
 * @param key As in `se_listen_rtmps`.
 * @return `SE_E_NOT_FOUND` where there is no such listener, `SE_E_STATE` where it has no TLS; and as
 * `se_listen_rtmps`: then the certificate in use stays.
 */
SE_API
se_status se_listener_reload_tls(struct se_engine *engine,
                                 se_id listener,
                                 const char *cert,
                                 const char *key);

/**
 * Closes a listener. Its connections go on.
 *
 * @param engine A started engine.
 * @param listener The listener.
 * @return `SE_E_NOT_FOUND` where there is no such listener.
 */
SE_API se_status se_listener_close(struct se_engine *engine, se_id listener);

/**
 * The name of a codec: `"H.264"`.
 *
 * @param codec Any number; for one that is no `se_codec` the answer is `"unknown"`.
 * @return Never NULL, valid for ever.
 */
SE_API const char *se_codec_name(int32_t codec);

/**
 * Looks at a frame.
 *
 * @param frame The frame.
 * @return Valid until this reference is freed; NULL on error.
 */
SE_API const struct se_frame *se_frame_ref_get(const struct se_frame_ref *frame);

/**
 * Another reference to the same frame, without a copy of its bytes. References are freed one by one and may be used on
 * any thread.
 *
 * @param frame The frame.
 * @return To be freed with `se_frame_ref_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
struct se_frame_ref *se_frame_ref_clone(const struct se_frame_ref *frame);

/**
 * Frees a reference to a frame.
 *
 * @param frame NULL does nothing.
 */
SE_API void se_frame_ref_free(struct se_frame_ref *frame);

/**
 * Publishes a stream from the program, by the rules of its app.
 *
 * @param engine A started engine.
 * @param stream The name, `"app/stream"`.
 * @param options `takeover`, `resume_window_ms`, `start`, `max_start_bytes`, `max_queue_ms`, `max_queue_bytes`,
 * `keyframe_wait_ms`, `ring_bytes`, in place of what the app's configuration says; NULL for none.
 * @param out The publisher, to be freed with `se_publisher_free`.
 * @return `SE_E_EXISTS` where the stream has a publisher that the policy keeps, `SE_E_NOT_FOUND` for an app that the
 * configuration does not list, `SE_E_INVALID_ARGUMENT` for a name that cannot be one, `SE_E_STATE` on an engine
 * that is not started.
 */
SE_API
SE_WARN_UNUSED
se_status se_publisher_open(struct se_engine *engine,
                            const char *stream,
                            const struct se_config *options,
                            struct se_publisher **out);

/**
 * Declares a track and gives its decoder configuration, before its first frame or when it changes. Not needed for
 * Annex B and ADTS, nor for FLV tags; nor for codecs that have no configuration (MP3, AC-3, G.711 ...).
 *
 * @param publisher The publisher.
 * @param track The track, 0 for the first; audio and video are counted apart.
 * @param codec One of `se_codec`.
 * @param extradata The configuration record (avcC, hvcC, av1C, AudioSpecificConfig, OpusHead ...), copied; NULL where
 * it comes in the stream itself (Annex B, ADTS).
 * @param len Bytes in `extradata`.
 * @return `SE_E_UNSUPPORTED` for a codec that RTMP cannot carry, `SE_E_FORMAT` for a record that is malformed,
 * `SE_E_CLOSED` when the right to publish is gone.
 */
SE_API
se_status se_publisher_set_track(struct se_publisher *publisher,
                                 uint32_t track,
                                 int32_t codec,
                                 const uint8_t *extradata,
                                 size_t len);

/**
 * Sends metadata (`onMetaData`): now to all players, and later to each that joins. Its time is always 0, for programs that
 * take a script tag at any other time for a track.
 *
 * @param publisher The publisher.
 * @param json A JSON object of numbers, booleans, strings, and objects and arrays of them:
 * `{"width": 1280, "height": 720}`.
 * @return `SE_E_INVALID_ARGUMENT` for what is no JSON object, `SE_E_CLOSED` when the right to publish is gone.
 */
SE_API
se_status se_publisher_set_metadata_json(struct se_publisher *publisher,
                                         const char *json);

/**
 * Publishes one frame, which is copied once. Never waits: the pace is the program's own.
 *
 * @param publisher The publisher.
 * @param frame The frame. `flv_body` is not looked at.
 * @return `SE_E_STATE` where the codec needs a configuration that has not been given (the text says how to),
 * `SE_E_FORMAT` for a payload that is malformed, `SE_E_UNSUPPORTED` for a codec or format that RTMP cannot carry,
 * `SE_E_LIMIT` for a frame that is too large for RTMP, `SE_E_CLOSED` when the right to publish is gone: takeover, kick,
 * stop.
 */
SE_API
se_status se_publisher_push_frame(struct se_publisher *publisher,
                                  const struct se_frame *frame);

/**
 * `se_publisher_push_frame` for bytes that live on: the library keeps `frame->data` without a copy, as long as players can
 * get it, until `release` is called. So it does with the bodies of FLV tags (`SE_FORMAT_FLV`) from 4 KiB on. What
 * needs a header before it, or another form, and small frames, are copied and released before the call returns.
 *
 * @param publisher The publisher.
 * @param frame The frame. The structure itself is read before the call returns.
 * @param release Called exactly once, also where the call fails, when the bytes are needed no more; on any thread.
 * @param user_data For `release`.
 * @return As `se_publisher_push_frame`.
 */
SE_API
se_status se_publisher_push_frame_ref(struct se_publisher *publisher,
                                      const struct se_frame *frame,
                                      se_release_fn release,
                                      void *user_data);

/**
 * Publishes the body of one FLV tag, which is the body of one RTMP message, as it is.
 *
 * @param publisher The publisher.
 * @param type 8 for audio, 9 for video, 18 for data (script).
 * @param timestamp_ms Decoding time in milliseconds. It may wrap around after 2^32, as RTMP's does.
 * @param body The body, copied.
 * @param len Bytes in `body`.
 * @return `SE_E_INVALID_ARGUMENT` for another type, `SE_E_FORMAT` for a body that is empty, `SE_E_LIMIT` for one of more
 * than 16 MiB, `SE_E_CLOSED` when the right to publish is gone.
 */
SE_API
se_status se_publisher_push_flv_tag(struct se_publisher *publisher,
                                    uint8_t type,
                                    uint32_t timestamp_ms,
                                    const uint8_t *body,
                                    size_t len);

/**
 * Publishes an FLV byte stream, with or without file header, in pieces of any size: whole tags are published, the rest
 * waits for the next call. Not paced: tags are published as they come. Bytes that are part of no tag are passed over, with a
 * warning in the log: the stream goes on at the next whole tag. So are encrypted tags.
 *
 * @param publisher The publisher.
 * @param bytes The next bytes, copied.
 * @param len Bytes in `bytes`.
 * @return `SE_E_FORMAT` where the stream begins like another format: then all later calls fail; open another publisher. Also
 * for each 1 MiB without a tag: then all bytes were taken all the same, and tags that come later are published.
 * `SE_E_CLOSED` when the right to publish is gone.
 */
SE_API
se_status se_publisher_push_flv(struct se_publisher *publisher,
                                const uint8_t *bytes,
                                size_t len);

/**
 * Ends the stream, players get their end at once, and frees the publisher. A push of another thread that is under way is
 * the stream's last.
 *
 * @param publisher NULL does nothing.
 */
SE_API
void se_publisher_free(struct se_publisher *publisher);

/**
 * Reads a stream in the program. It need not have a publisher yet.
 *
 * @param engine A started engine.
 * @param stream The name, `"app/stream"`.
 * @param options `start` (`keyframe`, `live-edge`; else as the app's configuration says), `back_ms` (how long ago to
 * start, at the oldest keyframe since then that is held) and `wait_for_publisher_ms` (else for ever); NULL for none.
 * @param out The subscriber, to be freed with `se_subscriber_free`.
 * @return `SE_E_NOT_FOUND` for an app that the configuration does not list, `SE_E_INVALID_ARGUMENT` for a name that
 * cannot be one, `SE_E_STATE` on an engine that is not started.
 */
SE_API
SE_WARN_UNUSED
se_status se_subscriber_open(struct se_engine *engine,
                             const char *stream,
                             const struct se_config *options,
                             struct se_subscriber **out);

/**
 * Has frames delivered to a callback, from the next one on. Once set it stays; a subscriber is read either by callback
 * or by `se_subscriber_next`.
 *
 * @param subscriber The subscriber.
 * @param callback Called on the callback thread of the engine, without a copy of the frame.
 * @param user_data For the callback.
 * @param destroy Called when `user_data` is needed no more; may be NULL.
 * @return `SE_E_STATE` where there is a callback already, `SE_E_INVALID_ARGUMENT` where `callback` is NULL,
 * `SE_E_CLOSED` where the engine has been freed.
 */
SE_API
se_status se_subscriber_set_callback(struct se_subscriber *subscriber,
                                     se_frame_fn callback,
                                     void *user_data,
                                     se_destroy_fn destroy);

/**
 * Takes the next frame. Blocks for up to `timeout_ms`. One thread at a time reads; others wait for it within their
 * time.
 *
 * @param subscriber The subscriber.
 * @param timeout_ms 0 does not wait, below 0 waits for ever.
 * @param out The frame, to be freed with `se_frame_ref_free`.
 * @return `SE_E_AGAIN` where there is none and `timeout_ms` is 0, `SE_E_TIMEOUT` where none came in time, `SE_E_CLOSED` at
 * the end of the stream (the text says why it ended) and when the subscriber is freed meanwhile, `SE_E_STATE` where
 * there is a callback.
 */
SE_API
SE_WARN_UNUSED
se_status se_subscriber_next(struct se_subscriber *subscriber,
                             int32_t timeout_ms,
                             struct se_frame_ref **out);

/**
 * Leaves the stream and frees the subscriber. With a callback it waits, up to 2 s, until the callback has returned, except in that callback itself: then no further call is made.
 *
 * @param subscriber NULL does nothing.
 */
SE_API
void se_subscriber_free(struct se_subscriber *subscriber);

/**
 * Pushes a local stream to another server, from now on and whenever it is live; a lost connection is made again. See
 * `se_relay_get_status` and `SE_EVENT_RELAY_STATE` for how it fares.
 *
 * @param engine A started engine.
 * @param stream The local stream, `"app/stream"`; it need not exist yet.
 * @param url `"rtmp[s]://[user:pass@]host[:port]/app/stream[?query]"`.
 * @param options Keys of `[[push]]` such as `connect_timeout_ms` and `connect`, see `se_config`; NULL for none.
 * @param out The relay; may be NULL.
 * @return `SE_E_INVALID_ARGUMENT` for what is no name or URL, `SE_E_NOT_FOUND` for an app that the configuration does
 * not list, `SE_E_STATE` on an engine that is not started.
 */
SE_API
se_status se_relay_add_push(struct se_engine *engine,
                            const char *stream,
                            const char *url,
                            const struct se_config *options,
                            se_id *out);

/**
 * Fetches a stream from another server into a local name, all the time or while somebody watches.
 *
 * @param engine A started engine.
 * @param url As in `se_relay_add_push`; or, of FLV over HTTP, `"http[s]://[user:pass@]host[:port]/path"`.
 * @param stream The local stream, `"app/stream"`.
 * @param options Keys of `[[pull]]` such as `when` (`always`, `watched`) and `linger_ms`, see `se_config`; NULL for none.
 * @param out The relay; may be NULL.
 * @return As `se_relay_add_push`.
 */
SE_API
se_status se_relay_add_pull(struct se_engine *engine,
                            const char *url,
                            const char *stream,
                            const struct se_config *options,
                            se_id *out);

/**
 * Changes how a relay push connects, waits and leaves, from its next step on; a connection that stands is kept. What the
 * options leave out is as for all relays of the engine.
 *
 * @param engine A started engine.
 * @param relay The relay.
 * @param options Keys of `[[push]]` but for `on_refusal`, `remote_app` and `remote_stream`, see `se_config`; NULL for none.
 * @return `SE_E_NOT_FOUND` where there is no such relay, `SE_E_STATE` where it is a pull, `SE_E_INVALID_ARGUMENT` for options
 * that cannot be.
 */
SE_API
se_status se_relay_tune(struct se_engine *engine,
                        se_id relay,
                        const struct se_config *options);

/**
 * Ends a relay: it unpublishes, or stops playing, in good order, within a second after the call.
 *
 * @param engine A started engine.
 * @param relay The relay.
 * @return `SE_E_NOT_FOUND` where there is no such relay.
 */
SE_API se_status se_relay_remove(struct se_engine *engine, se_id relay);

/**
 * Makes a relay try again at once, also one that has failed for good.
 *
 * @param engine A started engine.
 * @param relay The relay.
 * @return `SE_E_NOT_FOUND` where there is no such relay.
 */
SE_API se_status se_relay_restart(struct se_engine *engine, se_id relay);

/**
 * State and counters of one relay.
 *
 * @param engine A started engine.
 * @param relay The relay.
 * @param inout Filled in up to `struct_size`.
 * @return `SE_E_NOT_FOUND` where there is no such relay.
 */
SE_API
se_status se_relay_get_status(struct se_engine *engine,
                              se_id relay,
                              struct se_relay_status *inout);

/**
 * State and counters of all relays: a JSON array of objects with `id`, `direction` (`push`, `pull`), `stream`, `url`,
 * `state` (`idle`, `resolving`, `connecting`, `handshaking`, `publishing`, `playing`, `stalled`, `backing-off`,
 * `failed`), `last_error` and `last_error_kind` in words or null, and the counters of `se_relay_status`.
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_relays_json(struct se_engine *engine);

/**
 * Names servers by an alias, or changes which they are. Whoever plays `origin/ALIAS/APP/STREAM`, by any door, gets
 * `APP/STREAM` of the first of them that has it, by one connection for all players; over HTTP that is
 * `http://HOST:PORT/origin/ALIAS/APP/STREAM.flv` or `http://HOST:PORT/live?src=ALIAS&app=APP&stream=STREAM`. A server that
 * is lost is replaced by the next one, and players stay; they stay too where an alias is set anew.
 *
 * @param engine A started engine.
 * @param alias 1 to 32 of `a-z`, `0-9` and `-`. It is all that players can name.
 * @param json An object with the keys of `[origins.ALIAS]`: `{"urls": ["rtmp://10.0.0.1:1935", "http://10.0.0.2:8080"]}`,
 * and `http_path`, `apps`, `wait_ms`, `linger_ms`, `failback_ms`, `max_streams`, `tls`.
 * @return `SE_E_INVALID_ARGUMENT` for text that is no such object, for a key that does not exist or a value that does not
 * fit (the text names it), and for what no alias can be; `SE_E_CLOSED` while the engine stops, `SE_E_STATE` on an engine
 * that is not started.
 */
SE_API
se_status se_origin_set(struct se_engine *engine,
                        const char *alias,
                        const char *json);

/**
 * Removes an alias; its streams end.
 *
 * @param engine A started engine.
 * @param alias The alias.
 * @return `SE_E_NOT_FOUND` where there is none of that name.
 */
SE_API se_status se_origin_remove(struct se_engine *engine, const char *alias);

/**
 * All origins, by alias: a JSON array of objects with `alias`, `urls` (without their secrets), and `streams`, which are
 * fetched or asked for: objects with `stream` (its name here), `url` (where it comes from, or null), `is_live` (whether its
 * first frame has come), `moves` (from one server to another), `last_error` (in words, or null), `bytes_received`.
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_origins_json(struct se_engine *engine);

/**
 * Plays a media file, FLV or MP4, as a live stream, in real time, with a seamless seam. The file is read through once before
 * the call returns, of a long one the first 64 MiB. What an MP4 file has and RTMP does not carry, such as PCM, is left out,
 * and the log says so. While it is gone or being written, the job waits for it, and its status says so.
 *
 * @param engine A started engine.
 * @param path The file.
 * @param stream The local stream, `"app/stream"`.
 * @param loops How often to play it; -1 as the options say, else for ever.
 * @param options `paths`: a JSON array of files to play after this one, as one loop; `loops`; NULL for none.
 * @param out The job; may be NULL. Also a job that has ended exists until `se_file_stop`.
 * @return `SE_E_NOT_FOUND`, `SE_E_PERMISSION`, `SE_E_FORMAT` (the text names the byte position) of the file,
 * `SE_E_EXISTS` where the stream has a publisher, `SE_E_INVALID_ARGUMENT` for 0 loops or less than -1, `SE_E_STATE` on an
 * engine that is not started.
 */
SE_API
se_status se_file_publish(struct se_engine *engine,
                          const char *path,
                          const char *stream,
                          int32_t loops,
                          const struct se_config *options,
                          se_id *out);

/**
 * Plays other files in place of those of a job, or the same ones from their beginning: that job ends, and players of its
 * stream stay.
 *
 * @param engine A started engine.
 * @param file The job.
 * @param path The file.
 * @param loops As in `se_file_publish`.
 * @param options As in `se_file_publish`.
 * @param out The job that plays now; may be NULL.
 * @return `SE_E_NOT_FOUND` where there is no such job, or no such file, and others of files as in `se_file_publish`; then the
 * job goes on.
 */
SE_API
se_status se_file_replace(struct se_engine *engine,
                          se_id file,
                          const char *path,
                          int32_t loops,
                          const struct se_config *options,
                          se_id *out);

/**
 * Ends a file job and its stream.
 *
 * @param engine A started engine.
 * @param file The job.
 * @return `SE_E_NOT_FOUND` where there is no such job.
 */
SE_API se_status se_file_stop(struct se_engine *engine, se_id file);

/**
 * State and progress of one file job.
 *
 * @param engine A started engine.
 * @param file The job.
 * @param inout Filled in up to `struct_size`.
 * @return `SE_E_NOT_FOUND` where there is no such job.
 */
SE_API
se_status se_file_get_status(struct se_engine *engine,
                             se_id file,
                             struct se_file_status *inout);

/**
 * State and progress of all file jobs: a JSON array of objects with `id`, `stream`, `state` (`playing`, `finished`,
 * `stopped`, `failed`), `file` (that which plays), `loops_done`, `position_ms`, `frames`, `error` (or null).
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_files_json(struct se_engine *engine);

/**
 * Records a stream, from its newest keyframe on, until `se_record_stop`: while nobody publishes it, it is waited for. Returns
 * at once; `se_recordings_json` and `SE_EVENT_RECORDING_STATE` tell how it goes.
 *
 * @param engine A started engine.
 * @param stream The stream, `"app/stream"`.
 * @param json NULL for what the configuration of its app says; else an object with the keys of `[default_app.record]`, of which
 * `dir` has to be there: `{"dir": "/recordings", "format": "fmp4", "segment_ms": 60000}`.
 * @param out The recording; may be NULL.
 * @return `SE_E_STATE` where the app records nothing, `SE_E_EXISTS` where the stream is being recorded, `SE_E_INVALID_ARGUMENT` for
 * text that is no such object, for a key that does not exist or a value that does not fit (the text names it), `SE_E_CLOSED` while
 * the engine stops, `SE_E_STATE` on an engine that is not started.
 */
SE_API
se_status se_record_start(struct se_engine *engine,
                          const char *stream,
                          const char *json,
                          se_id *out);

/**
 * Ends a recording; its file becomes whole.
 *
 * @param engine A started engine.
 * @param recording The recording.
 * @return `SE_E_NOT_FOUND` where there is no such recording.
 */
SE_API se_status se_record_stop(struct se_engine *engine, se_id recording);

/**
 * Ends the file that a recording writes, with all that has been published so far: it is whole when this returns. What is published
 * from then on begins another one. Blocks for up to `timeout_ms`; not to be called by callbacks.
 *
 * @param engine A started engine.
 * @param recording The recording.
 * @param timeout_ms How long the disk may take.
 * @return `SE_E_NOT_FOUND` where there is no such recording; `SE_E_TIMEOUT` where the disk has not taken all in that time: the file
 * becomes whole in its own.
 */
SE_API
se_status se_record_cut(struct se_engine *engine,
                        se_id recording,
                        uint32_t timeout_ms);

/**
 * State and progress of all recordings that go on: a JSON array of objects with `id`, `stream`, `state` (`idle`, `recording`,
 * `disk-full`, `failed`, `stopped`), `file` (that which is written, or null), `files` (that are whole), `bytes`, `length_ms`,
 * `frames_dropped`, `error` (or null).
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_recordings_json(struct se_engine *engine);

/**
 * The recorded files of a stream in the folder of its app, the oldest first: a JSON array of objects with `recording`
 * (null), `stream`, `path`, `start` (seconds since 1970), `bytes`, `length_ms` (or null while that is not known), `is_growing`
 * (whether it is being written: `.part` is behind its name then). Reads the disk.
 *
 * @param engine A started engine.
 * @param stream The stream, `"app/stream"`.
 * @return To be freed with `se_string_free`; NULL on error: `SE_E_STATE` where the app has no folder for recordings.
 */
SE_API
SE_WARN_UNUSED
char *se_recorded_files_json(struct se_engine *engine,
                             const char *stream);

/**
 * Lets the program decide who may publish and play, in place of the configuration's `publish` section. May be called
 * before the start and at any time, for requests from then on.
 *
 * @param engine The engine.
 * @param callback Called on the callback thread; NULL lets the configuration decide again.
 * @param user_data For the callback.
 * @param destroy Called when `user_data` is needed no more; may be NULL.
 * @return `SE_E_CLOSED` while the engine is being freed.
 */
SE_API
se_status se_engine_set_auth_callback(struct se_engine *engine,
                                      se_auth_fn callback,
                                      void *user_data,
                                      se_destroy_fn destroy);

/**
 * Says whether what peers send for a name may be a key, for which the program grants another `stream`
 * (`se_auth_request_grant_json`). Then names that are refused are not told: in no event and no log. Off at first.
 *
 * @param engine The engine.
 * @param enabled Not 0 for yes.
 * @return `SE_E_INVALID_ARGUMENT` for NULL.
 */
SE_API
se_status se_engine_set_names_may_be_keys(struct se_engine *engine,
                                          int32_t enabled);

/**
 * Looks at a request.
 *
 * @param request The request.
 * @param inout Filled in up to `struct_size`.
 * @return `SE_E_INVALID_ARGUMENT` for NULL or a `struct_size` of 0.
 */
SE_API
se_status se_auth_request_get(const struct se_auth_request *request,
                              struct se_auth_info *inout);

/**
 * Answers a deferred request, which is gone then. An answer that comes too late has no effect.
 *
 * @param request The request; NULL does nothing.
 * @param allow Not 0 grants, 0 refuses.
 * @param text Of a refusal: why, which the encoder or player shows. Of a grant: by which right, such as a user's name; a
 * publisher that is lost can be replaced by one with the same. May be NULL.
 */
SE_API
void se_auth_request_reply(struct se_auth_request *request,
                           int32_t allow,
                           const char *text);

/**
 * Grants a deferred request with more than a name. The request is gone then, in any case: what is no grant refuses it.
 *
 * @param request The request.
 * @param json An object that may have `stream` (`app/stream`, or a stream in the app that was asked for: what a peer sends may be a
 * key), `principal` (by which right; a publisher that is lost can be replaced by one with the same), `credential` (what was
 * shown for it, no secret: `se_kick_credential` ends all that has it), `max_kbps` and `max_viewers` (limits in place of the
 * app's), `lasts_s` (seconds; then the connection ends), `push` (of a publisher: a list of `rtmp[s]://` URLs that the stream goes to
 * as long as it lasts), and `pull` (of a player: a URL that the stream is fetched from while somebody plays it).
 * @return `SE_E_INVALID_ARGUMENT` for NULL and for text that is no such object.
 */
SE_API
se_status se_auth_request_grant_json(struct se_auth_request *request,
                                     const char *json);

/**
 * Leaves a deferred request, which is gone then, to whoever decides next: at last the configuration's rule.
 *
 * @param request The request; NULL does nothing.
 */
SE_API
void se_auth_request_pass(struct se_auth_request *request);

/**
 * Makes a key, or takes one in that somebody has already.
 *
 * @param engine A started engine whose configuration has `keys.url`.
 * @param json What it opens: `{"stream": "live/alice"}`, and where they are wanted `play` (true: a key for playing), `who`,
 * `max_kbps`, `max_viewers`, `expires` and `until` (`"2027-01-31T18:00:00Z"`), and `key`, one that is there already, of 8 to
 * 128 bytes.
 * @return A JSON object with what `se_keys_json` has of each, and with `key` where one was made, which is shown this once and
 * should not be logged; to be freed with `se_string_free`; NULL on error: `SE_E_INVALID_ARGUMENT` for text that is no such object,
 * `SE_E_EXISTS` where the key is there already, `SE_E_NOT_FOUND` where the configuration names no database,
 * `SE_E_UNSUPPORTED` in a library without keys; otherwise what keeps the database from answering.
 */
SE_API
SE_WARN_UNUSED
char *se_keys_add(struct se_engine *engine,
                  const char *json);

/**
 * All keys, by stream and age: a JSON array of objects with `id` (what a key is called by, no secret), `action`
 * (`"publish"` or `"play"`), `stream`, `who`, `max_kbps`, `max_viewers`, `expires`, `until`, `created`, `revoked`; null
 * where there is nothing.
 *
 * @param engine As for `se_keys_add`.
 * @param stream Those of this stream only; may be NULL.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_keys_json(struct se_engine *engine,
                   const char *stream);

/**
 * Revokes a key: nobody may begin with it any more, and what it has opened ends at once, in engines of other processes
 * within two seconds.
 *
 * @param engine As for `se_keys_add`.
 * @param id What the key is called by: the part before its dash.
 * @return `SE_E_NOT_FOUND` where there is none.
 */
SE_API
se_status se_keys_revoke(struct se_engine *engine,
                         const char *id);

/**
 * Makes a key that opens what another one does, which goes on to be good for a while.
 *
 * @param engine As for `se_keys_add`.
 * @param id The other one.
 * @param overlap_ms How long that is good, from now on.
 * @return As of `se_keys_add`; `SE_E_STATE` where the other one has been revoked.
 */
SE_API
SE_WARN_UNUSED
char *se_keys_rotate(struct se_engine *engine,
                     const char *id,
                     uint64_t overlap_ms);

/**
 * All keys for another database, one JSON object in a line. Whoever has the text can try out keys: it is as secret as the
 * database.
 *
 * @param engine As for `se_keys_add`.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_keys_export(struct se_engine *engine);

/**
 * Takes in what `se_keys_export` or `streamengine keys export` has given.
 *
 * @param engine As for `se_keys_add`.
 * @param exported The text.
 * @return `SE_E_FORMAT` for text that is none of that, `SE_E_STATE` where this database has keys of its own and finds them
 * otherwise, `SE_E_EXISTS` where a key is there already; then nothing is taken in.
 */
SE_API
se_status se_keys_import(struct se_engine *engine,
                         const char *exported);

/**
 * Counters of the whole engine.
 *
 * @param engine A started engine.
 * @param inout Filled in up to `struct_size`.
 * @return `SE_E_STATE` on an engine that is not started.
 */
SE_API se_status se_engine_get_stats(struct se_engine *engine, struct se_engine_stats *inout);

/**
 * Facts and counters of one stream.
 *
 * @param engine A started engine.
 * @param stream The name, `"app/stream"`.
 * @param inout Filled in up to `struct_size`.
 * @return `SE_E_NOT_FOUND` where there is no such stream.
 */
SE_API
se_status se_stream_get_stats(struct se_engine *engine,
                              const char *stream,
                              struct se_stream_stats *inout);

/**
 * Counters and lists: a JSON object. Its `engine` has the counters of `se_engine_stats`, the lists are those of
 * `se_streams_json` and its kin; `listeners` have `id`, `protocol` and `address`.
 *
 * @param engine A started engine.
 * @param flags What to tell: `SE_STATS_ENGINE` and others, or-ed; 0 for all.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_stats_json(struct se_engine *engine,
                    uint32_t flags);

/**
 * The whole engine as it was at the newest second, as `/api/v1` has it: a JSON object with `engine`, `rates` (`bits_in`, `bits_out`
 * per second), and the lists `streams`, `sessions`, `relays`, `files` and `origins`. A stream has beside what `se_streams_json`
 * tells its `rates`, `frame_rate`, `keyframe_interval_ms`, `players`, `queue_ms`, `video`, `audio`, and `problems`: what is wrong
 * with it, as objects with `kind` (`low-bitrate`, `no-keyframe`, `audio-video-apart`, `jumping-times`, `slow-viewer`, `no-media`)
 * and `detail`. It is made once a second, however many ask.
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_snapshot_json(struct se_engine *engine);

/**
 * What the engine, or a stream of it, did in each of the last 600 seconds, the oldest first: a JSON array of objects with `at_s`
 * (seconds since the engine's start), `in_kbps`, `out_kbps`, `players`, `frame_rate_x10`, `keyframe_interval_ms`, `queue_ms`,
 * `frames_skipped`, `skew_ms` and `silence_ms`. Of a stream it is kept for ten minutes after its end.
 *
 * @param engine A started engine.
 * @param stream The name, `"app/stream"`; NULL for the engine.
 * @return To be freed with `se_string_free`; NULL on error: `SE_E_NOT_FOUND` where nothing is known of a stream of that name.
 */
SE_API
SE_WARN_UNUSED
char *se_history_json(struct se_engine *engine,
                      const char *stream);

/**
 * All streams, by name: a JSON array of objects with `key` (the name), `state` (`idle`, `live`, `away`, `ended`),
 * `publisher` (who it is, or null), `timestamp` and `silence_ms` (or null), and the counters of `se_stream_stats`.
 *
 * @param engine A started engine.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_streams_json(struct se_engine *engine);

/**
 * All sessions (connections), or those of one stream: a JSON array of objects with `id`, `peer`, `door` (`rtmp`,
 * `http-flv`, `http-mp4`, `websocket`, `hls`, `recording`), `tls`, `role` (`pending`, `publisher`, `player`), `stream` and `agent` (or null), `uptime_ms`,
 * `bytes_in`, `bytes_out`.
 *
 * @param engine A started engine.
 * @param stream The name, `"app/stream"`; NULL for all sessions.
 * @return To be freed with `se_string_free`; NULL on error.
 */
SE_API
SE_WARN_UNUSED
char *se_sessions_json(struct se_engine *engine,
                       const char *stream);

/**
 * Ends a session, or those of a stream. Give one of the two.
 *
 * @param engine A started engine.
 * @param session The session to end; 0 for those of `stream`.
 * @param stream The stream, `"app/stream"`; NULL where `session` is given.
 * @param who With `stream`: `SE_KICK_PUBLISHER` (players wait for the resume window), `SE_KICK_PLAYERS`, or both: then the
 * stream ends.
 * @param reason Why, told to the peers and to the log; NULL for none.
 * @return `SE_E_NOT_FOUND` where there is no such session or stream, or the stream has no publisher,
 * `SE_E_INVALID_ARGUMENT` where both, none or no `who` is given.
 */
SE_API
se_status se_kick(struct se_engine *engine,
                  se_id session,
                  const char *stream,
                  uint32_t who,
                  const char *reason);

/**
 * Ends the sessions that something was granted for this credential (`credential` of `se_auth_request_grant_json`).
 *
 * @param engine A started engine.
 * @param credential What was shown.
 * @param reason Why, told to the peers and to the log; NULL for none.
 * @param out_count How many sessions there were; may be NULL.
 * @return `SE_E_INVALID_ARGUMENT` for NULL.
 */
SE_API
se_status se_kick_credential(struct se_engine *engine,
                             const char *credential,
                             const char *reason,
                             uint64_t *out_count);

/**
 * Asks the peer of a session to connect anew (Enhanced RTMP). The session goes on until the peer leaves it.
 * `se_engine_stop` asks all peers that follow such requests to come back to the same place.
 *
 * @param engine A started engine.
 * @param session The session.
 * @param url Where to go, up to the app: `"rtmp[s]://host[:port]/app[?query]"`; NULL for the same place.
 * @return `SE_E_NOT_FOUND` where there is no such session, `SE_E_UNSUPPORTED` where its peer has not announced that it
 * follows such requests, `SE_E_INVALID_ARGUMENT` where `url` is no such URL.
 */
SE_API
se_status se_session_request_reconnect(struct se_engine *engine,
                                       se_id session,
                                       const char *url);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* STREAMENGINE_H */
