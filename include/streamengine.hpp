/**
 * @file streamengine.hpp
 * libstreamengine for C++17: the C interface of streamengine.h in classes that free what they hold.
 *
 * Header-only; link with libstreamengine as C does. What a call does, how long it may block and which errors it
 * has is told in streamengine.h; here is only what differs:
 *
 * - A call that fails throws `streamengine::Error`, which carries the code and the text. "Nothing yet" is no error:
 *   it is an empty `std::optional`.
 * - Handles are classes that can be moved. They may end in any order.
 * - Callbacks are `std::function`s. They run on the callback thread of the engine, and end together with their captures
 *   when the library needs them no more. An exception that leaves one goes to `on_escaped_exception`, never further.
 * - Structures of plain values (`se_frame`, `se_event`, `se_relay_status` ...) are those of C.
 */

#ifndef STREAMENGINE_HPP
#define STREAMENGINE_HPP

#include "streamengine.h"

#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace streamengine {

/** A failed call: the code, and a text that names the object and the cause. */
class Error : public std::runtime_error {
public:
    /** Makes one from a code (one of `se_status`) and a text. */
    Error(int32_t code, const std::string &text) : std::runtime_error(text), code_(code) {}

    /** One of `se_status`. */
    int32_t code() const noexcept { return code_; }

    /** The code's name: `SE_E_ADDRESS_IN_USE`. */
    const char *name() const noexcept { return se_status_name(code_); }

private:
    int32_t code_;
};

/** Is told of exceptions that leave callbacks; may be replaced before the first engine is made. Must not throw. */
inline void (*on_escaped_exception)(const char *callback, const char *what) =
    [](const char *callback, const char *what) {
        std::fprintf(stderr, "streamengine: an exception has left the %s callback: %s\n", callback, what);
    };

/** What the classes below are made of. Not for use. */
namespace detail {

/** Throws the latest error of this thread. */
[[noreturn]] inline void fail() { throw Error(se_last_status(), se_last_error()); }

inline void check(int32_t status) {
    if (status != SE_OK) {
        fail();
    }
}

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T *handle) const noexcept {
        Free(handle);
    }
};

template <class T, auto Free>
using Handle = std::unique_ptr<T, Deleter<Free>>;

/** Takes over a string that the library has made. */
inline std::string take(char *string) {
    Handle<char, se_string_free> owned(string);
    if (!owned) {
        fail();
    }
    return owned.get();
}

/** A structure that the library fills in or reads, with its size set. */
template <class T>
T sized() noexcept {
    T value{};
    value.struct_size = sizeof(T);
    return value;
}

template <class F>
void destroy(void *function) noexcept {
    delete static_cast<F *>(function);
}

/** Calls a callback, and lets no exception out. */
template <class Body>
void guarded(const char *callback, Body body) noexcept {
    try {
        body();
    } catch (const std::exception &error) {
        on_escaped_exception(callback, error.what());
    } catch (...) {
        on_escaped_exception(callback, "of a type that is not std::exception");
    }
}

/** Hands a callback to a function of the library, which destroys it on every path; an empty one takes it away. */
template <class F, class Call>
void give(F function, Call call) {
    if (!function) {
        check(call(false, nullptr, nullptr));
        return;
    }
    check(call(true, new F(std::move(function)), &destroy<F>));
}

inline const char *or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

}  // namespace detail

/** The version of the library: `"0.1.0"`; `SE_VERSION_NUMBER` is that of the headers. */
inline std::string version() { return se_version_string(); }

/** What the library was built as, in JSON. */
inline std::string build_info_json() { return detail::take(se_build_info_json()); }

/** The log of all engines of the process, up to a level (`SE_LOG_INFO`); an empty function ends it. */
inline void set_log(int32_t max_level, std::function<void(const se_log_record &)> callback) {
    using F = decltype(callback);
    detail::give(std::move(callback), [&](bool some, void *user_data, se_destroy_fn destroy) {
        se_log_fn call = [](const se_log_record *record, void *function) {
            detail::guarded("log", [&] { (*static_cast<F *>(function))(*record); });
        };
        return se_log_set_callback(max_level, some ? call : nullptr, user_data, destroy);
    });
}

/** Which lines the log has: `"info,rtmp=debug"`. */
inline void set_log_filter(const std::string &directives) { detail::check(se_log_set_filter(directives.c_str())); }

/** Settings of an engine, or options of one publisher, subscriber, relay or file. */
class Config {
public:
    /** An empty one: everything is at its default. */
    Config() : handle_(se_config_new()) {
        if (!handle_) {
            detail::fail();
        }
    }

    /** Sets one value, as text: `set("limits.ring_ms", "5000")`. */
    Config &set(const std::string &key, const std::string &value) {
        detail::check(se_config_set(handle_.get(), key.c_str(), value.c_str()));
        return *this;
    }

    /** The same for text; without it a literal would be taken for `true`. */
    Config &set(const std::string &key, const char *value) { return set(key, std::string(value)); }

    /** The same for numbers and `true` and `false`. */
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
    Config &set(const std::string &key, T value) {
        if constexpr (std::is_same_v<T, bool>) {
            return set(key, std::string(value ? "true" : "false"));
        } else {
            return set(key, std::to_string(value));
        }
    }

    /** Sets many values: a JSON object in the shape of the TOML configuration. */
    Config &load_json(const std::string &json) {
        detail::check(se_config_load_json(handle_.get(), json.c_str()));
        return *this;
    }

    /** The effective values of all settings. */
    std::string dump_json() const { return detail::take(se_config_dump_json(handle_.get())); }

    /** For calls of the C interface. */
    se_config *native() const noexcept { return handle_.get(); }

private:
    detail::Handle<se_config, se_config_free> handle_;
};

/** An event that was fetched. Its fields, by `->`, live as long as it does. */
class Event {
public:
    /** Takes over a reference. */
    explicit Event(se_event_ref *handle) noexcept : handle_(handle) {}

    /** The fields. */
    const se_event &operator*() const noexcept { return *se_event_ref_get(handle_.get()); }

    /** The fields. */
    const se_event *operator->() const noexcept { return &**this; }

private:
    detail::Handle<se_event_ref, se_event_ref_free> handle_;
};

/** A reference to a frame: counted, so copies of it copy no bytes. Its fields, by `->`, live as long as it does. */
class Frame {
public:
    /** Takes over a reference. */
    explicit Frame(se_frame_ref *handle) noexcept : handle_(handle) {}
    /** Another reference to the same frame. */
    Frame(const Frame &other) : handle_(clone(other.handle_.get())) {}
    /** Another reference to the same frame. */
    Frame &operator=(const Frame &other) {
        handle_.reset(clone(other.handle_.get()));
        return *this;
    }
    /** Leaves the other one empty. */
    Frame(Frame &&) noexcept = default;
    /** Leaves the other one empty. */
    Frame &operator=(Frame &&) noexcept = default;
    ~Frame() = default;

    /** The fields. */
    const se_frame &operator*() const noexcept { return *se_frame_ref_get(handle_.get()); }

    /** The fields. */
    const se_frame *operator->() const noexcept { return &**this; }

    /** Another reference to a borrowed frame. */
    static se_frame_ref *clone(const se_frame_ref *frame) {
        if (!frame) {
            return nullptr;
        }
        se_frame_ref *copy = se_frame_ref_clone(frame);
        if (!copy) {
            detail::fail();
        }
        return copy;
    }

private:
    detail::Handle<se_frame_ref, se_frame_ref_free> handle_;
};

/** A frame inside a callback: borrowed, gone when the callback returns. */
class BorrowedFrame {
public:
    /** The two parameters of `se_frame_fn`. */
    BorrowedFrame(const se_frame &frame, const se_frame_ref *ref) noexcept : frame_(frame), ref_(ref) {}

    /** The fields. */
    const se_frame &operator*() const noexcept { return frame_; }

    /** The fields. */
    const se_frame *operator->() const noexcept { return &frame_; }

    /** Keeps the frame, without a copy of its bytes. */
    Frame keep() const { return Frame(Frame::clone(ref_)); }

private:
    const se_frame &frame_;
    const se_frame_ref *ref_;
};

/** A frame to be pushed. `data` is not copied here, so it must live until the push. Times are in nanoseconds. */
inline se_frame make_frame(int32_t codec, int32_t format, const uint8_t *data, size_t len, int64_t pts_ns,
                           int64_t dts_ns = SE_TIME_UNSET, uint32_t flags = 0, uint32_t track = 0) noexcept {
    se_frame frame = detail::sized<se_frame>();
    frame.codec = codec;
    frame.format = format;
    frame.track = track;
    frame.flags = flags;
    frame.pts_ns = pts_ns;
    frame.dts_ns = dts_ns;
    frame.data = data;
    frame.len = len;
    return frame;
}

/** A stream that the program publishes. Its end is the stream's. */
class Publisher {
public:
    /** Takes over a publisher. */
    explicit Publisher(se_publisher *handle) noexcept : handle_(handle) {}

    /** Declares a track and gives its decoder configuration; without one it comes in the stream itself. */
    void set_track(uint32_t track, int32_t codec, const uint8_t *extradata = nullptr, size_t len = 0) {
        detail::check(se_publisher_set_track(handle_.get(), track, codec, extradata, len));
    }

    /** Sends metadata (`onMetaData`), a JSON object. */
    void set_metadata_json(const std::string &json) {
        detail::check(se_publisher_set_metadata_json(handle_.get(), json.c_str()));
    }

    /** Publishes one frame, which is copied. */
    void push(const se_frame &frame) { detail::check(se_publisher_push_frame(handle_.get(), &frame)); }

    /** Publishes one frame without a copy: `owner` keeps its bytes alive and is let go, on any thread, when they are
     * needed no more. */
    void push(const se_frame &frame, std::shared_ptr<const void> owner) {
        using Owner = std::shared_ptr<const void>;
        auto *kept = new Owner(std::move(owner));
        detail::check(se_publisher_push_frame_ref(handle_.get(), &frame, &detail::destroy<Owner>, kept));
    }

    /** Publishes the body of one FLV tag: type 8, 9 or 18. */
    void push_flv_tag(uint8_t type, uint32_t timestamp_ms, const uint8_t *body, size_t len) {
        detail::check(se_publisher_push_flv_tag(handle_.get(), type, timestamp_ms, body, len));
    }

    /** Publishes an FLV byte stream, in pieces of any size. */
    void push_flv(const uint8_t *bytes, size_t len) {
        detail::check(se_publisher_push_flv(handle_.get(), bytes, len));
    }

    /** For calls of the C interface. */
    se_publisher *native() const noexcept { return handle_.get(); }

private:
    detail::Handle<se_publisher, se_publisher_free> handle_;
};

/** A stream that the program reads. */
class Subscriber {
public:
    /** Takes over a subscriber. */
    explicit Subscriber(se_subscriber *handle) noexcept : handle_(handle) {}

    /**
     * Has frames delivered to a callback instead of `next`.
     *
     * @param on_frame Called with each frame.
     * @param on_end Called once at the end of the stream, with why it ended; may be empty.
     */
    void set_callback(std::function<void(const BorrowedFrame &)> on_frame,
                      std::function<void(const std::string &why)> on_end = {}) {
        se_frame_fn call = [](const se_frame *frame, const se_frame_ref *ref, void *user_data) {
            auto &functions = *static_cast<Functions *>(user_data);
            detail::guarded("frame", [&] {
                if (frame) {
                    functions.on_frame(BorrowedFrame(*frame, ref));
                } else if (functions.on_end) {
                    functions.on_end(se_last_error());
                }
            });
        };
        if (!on_frame) {
            throw Error(SE_E_INVALID_ARGUMENT, "the frame callback is empty");
        }
        auto *functions = new Functions{std::move(on_frame), std::move(on_end)};
        detail::check(
            se_subscriber_set_callback(handle_.get(), call, functions, &detail::destroy<Functions>));
    }

    /**
     * Takes the next frame, waiting for up to `timeout_ms` (below 0: for ever); none if there was none in time.
     *
     * @throws Error `SE_E_CLOSED` at the end of the stream: the text says why it ended.
     */
    std::optional<Frame> next(int32_t timeout_ms = -1) {
        se_frame_ref *frame = nullptr;
        se_status status = se_subscriber_next(handle_.get(), timeout_ms, &frame);
        if (status == SE_E_AGAIN || status == SE_E_TIMEOUT) {
            return std::nullopt;
        }
        detail::check(status);
        return Frame(frame);
    }

    /** For calls of the C interface. */
    se_subscriber *native() const noexcept { return handle_.get(); }

private:
    struct Functions {
        std::function<void(const BorrowedFrame &)> on_frame;
        std::function<void(const std::string &why)> on_end;
    };

    detail::Handle<se_subscriber, se_subscriber_free> handle_;
};

/** A request to publish or play, to be answered here and now, or later on any thread. Without an answer it is refused. */
class AuthRequest {
public:
    /** Takes over a request. */
    explicit AuthRequest(se_auth_request *request) noexcept : handle_(request) {}

    /** Who asks for what. Texts live until the answer. */
    se_auth_info info() const {
        auto info = detail::sized<se_auth_info>();
        detail::check(se_auth_request_get(handle_.get(), &info));
        return info;
    }

    /** Grants. `right` says by which right, such as a user's name. */
    void allow(const std::string &right = {}) noexcept {
        se_auth_request_reply(handle_.release(), 1, detail::or_null(right));
    }

    /**
     * Grants more than a name: a JSON object with `stream`, `principal`, `credential`, `max_kbps`, `max_viewers`, `lasts_s`,
     * `push` and `pull` (see `se_auth_request_grant_json`). What is no such object refuses, and throws.
     */
    void grant(const std::string &json) { detail::check(se_auth_request_grant_json(handle_.release(), json.c_str())); }

    /** Says nothing: whoever comes next decides, at last the settings. */
    void pass() noexcept { se_auth_request_pass(handle_.release()); }

    /** Refuses. The encoder or player shows the reason. */
    void deny(const std::string &reason = {}) noexcept {
        se_auth_request_reply(handle_.release(), 0, detail::or_null(reason));
    }

private:
    static void refuse(se_auth_request *request) noexcept { se_auth_request_reply(request, 0, nullptr); }
    detail::Handle<se_auth_request, refuse> handle_;
};

/** A listener that was opened. */
struct Listener {
    /** Names it in other calls and in events. */
    se_id id;
    /** The port really bound. */
    uint16_t port;
};

/** An RTMP engine. Its end stops it at once; `stop` does so in good order. */
class Engine {
public:
    /** One with these settings, not started. */
    explicit Engine(const Config &config = Config()) {
        se_engine *engine = nullptr;
        detail::check(se_engine_new(config.native(), &engine));
        handle_.reset(engine);
    }

    /** Starts threads, and listeners, relays and files of the settings. */
    void start() { detail::check(se_engine_start(handle_.get())); }

    /** Gives a running engine other settings, all of them, and does what is different: a JSON object with `changes`. */
    std::string reload(const Config &config) { return detail::take(se_engine_reload(handle_.get(), config.native())); }

    /** Stops in good order. False where some connection did not end in time and was cut. */
    bool stop(uint32_t drain_ms) {
        se_status status = se_engine_stop(handle_.get(), drain_ms);
        if (status == SE_E_TIMEOUT) {
            return false;
        }
        detail::check(status);
        return true;
    }

    /** Has events delivered to a callback; an empty one leaves them to `next_event` again. */
    void set_event_callback(std::function<void(const se_event &)> callback) {
        using F = decltype(callback);
        detail::give(std::move(callback), [&](bool some, void *user_data, se_destroy_fn destroy) {
            se_event_fn call = [](const se_event *event, void *function) {
                detail::guarded("event", [&] { (*static_cast<F *>(function))(*event); });
            };
            return se_engine_set_event_callback(handle_.get(), some ? call : nullptr, user_data, destroy);
        });
    }

    /** Takes the next event, waiting for up to `timeout_ms` (below 0: for ever); none if there was none in time. */
    std::optional<Event> next_event(int32_t timeout_ms = 0) {
        se_event_ref *event = nullptr;
        se_status status = se_engine_next_event(handle_.get(), timeout_ms, &event);
        if (status == SE_E_AGAIN || status == SE_E_TIMEOUT) {
            return std::nullopt;
        }
        detail::check(status);
        return Event(event);
    }

    /** A descriptor that is readable while there are events; -1 on systems that have none. */
    int event_fd() const noexcept { return se_engine_event_fd(handle_.get()); }

    /** Opens an RTMP listener: `"127.0.0.1:0"`. */
    Listener listen_rtmp(const std::string &address) {
        Listener listener{};
        detail::check(se_listen_rtmp(handle_.get(), address.c_str(), &listener.id, &listener.port));
        return listener;
    }

    /** Opens an RTMPS listener; certificate and key are PEM, as text or file names. */
    Listener listen_rtmps(const std::string &address, const std::string &cert, const std::string &key) {
        Listener listener{};
        detail::check(se_listen_rtmps(handle_.get(), address.c_str(), cert.c_str(), key.c_str(), &listener.id,
                                      &listener.port));
        return listener;
    }

    /** Opens a listener for players over HTTP, FLV and MP4, also by WebSocket; over HTTPS with a certificate and key. */
    Listener listen_http(const std::string &address, const std::string &cert = {}, const std::string &key = {}) {
        Listener listener{};
        detail::check(se_listen_http(handle_.get(), address.c_str(), detail::or_null(cert), detail::or_null(key),
                                     &listener.id, &listener.port));
        return listener;
    }

    /** Gives a listener with TLS another certificate and key; without them, reads again the files in use. */
    void reload_tls(se_id listener, const std::string &cert = {}, const std::string &key = {}) {
        detail::check(
            se_listener_reload_tls(handle_.get(), listener, detail::or_null(cert), detail::or_null(key)));
    }

    /** Closes a listener; its connections go on. */
    void close_listener(se_id listener) { detail::check(se_listener_close(handle_.get(), listener)); }

    /** Publishes a stream from the program. Options: `takeover`, `resume_window_ms`, `start`, `max_start_bytes`,
     * `max_queue_ms`, `max_queue_bytes`, `keyframe_wait_ms`, `ring_bytes`. */
    Publisher publish(const std::string &stream, const Config &options = Config()) {
        se_publisher *publisher = nullptr;
        detail::check(se_publisher_open(handle_.get(), stream.c_str(), options.native(), &publisher));
        return Publisher(publisher);
    }

    /** Reads a stream in the program. Options: `start`, `back_ms`, `wait_for_publisher_ms`. */
    Subscriber subscribe(const std::string &stream, const Config &options = Config()) {
        se_subscriber *subscriber = nullptr;
        detail::check(se_subscriber_open(handle_.get(), stream.c_str(), options.native(), &subscriber));
        return Subscriber(subscriber);
    }

    /** Pushes a local stream to another server. Options: the keys of `[[push]]`. */
    se_id add_push(const std::string &stream, const std::string &url, const Config &options = Config()) {
        se_id relay = 0;
        detail::check(se_relay_add_push(handle_.get(), stream.c_str(), url.c_str(), options.native(), &relay));
        return relay;
    }

    /** Fetches a stream from another server, by RTMP or as FLV over HTTP. Options: the keys of `[[pull]]`. */
    se_id add_pull(const std::string &url, const std::string &stream, const Config &options = Config()) {
        se_id relay = 0;
        detail::check(se_relay_add_pull(handle_.get(), url.c_str(), stream.c_str(), options.native(), &relay));
        return relay;
    }

    /** Ends a relay in good order. */
    void remove_relay(se_id relay) { detail::check(se_relay_remove(handle_.get(), relay)); }

    /** Changes how a relay push connects, waits and leaves, from its next step on. */
    void tune_relay(se_id relay, const Config &options) {
        detail::check(se_relay_tune(handle_.get(), relay, options.native()));
    }

    /** Makes a relay try again at once. */
    void restart_relay(se_id relay) { detail::check(se_relay_restart(handle_.get(), relay)); }

    /** State and counters of one relay. */
    se_relay_status relay_status(se_id relay) const {
        auto status = detail::sized<se_relay_status>();
        detail::check(se_relay_get_status(handle_.get(), relay, &status));
        return status;
    }

    /** State and counters of all relays: a JSON array. */
    std::string relays_json() const { return detail::take(se_relays_json(handle_.get())); }

    /** Names servers by an alias: `origin/ALIAS/APP/STREAM` is fetched from them for who plays it. A JSON object with the
     * keys of `[origins.ALIAS]`: `{"urls": ["rtmp://10.0.0.1:1935"]}`. */
    void set_origin(const std::string &alias, const std::string &json) {
        detail::check(se_origin_set(handle_.get(), alias.c_str(), json.c_str()));
    }

    /** Removes an alias; its streams end. */
    void remove_origin(const std::string &alias) { detail::check(se_origin_remove(handle_.get(), alias.c_str())); }

    /** All origins, with the streams that are fetched from them: a JSON array. */
    std::string origins_json() const { return detail::take(se_origins_json(handle_.get())); }

    /** Plays a media file, FLV or MP4, as a live stream; -1 loops are endless. Options: `paths`. */
    se_id publish_file(const std::string &path, const std::string &stream, int32_t loops = -1,
                       const Config &options = Config()) {
        se_id file = 0;
        detail::check(
            se_file_publish(handle_.get(), path.c_str(), stream.c_str(), loops, options.native(), &file));
        return file;
    }

    /** Plays another file in place of those of a job; players of its stream stay. The job that plays now. */
    se_id replace_file(se_id file, const std::string &path, int32_t loops = -1, const Config &options = Config()) {
        se_id next = 0;
        detail::check(se_file_replace(handle_.get(), file, path.c_str(), loops, options.native(), &next));
        return next;
    }

    /** Ends a file job and its stream. */
    void stop_file(se_id file) { detail::check(se_file_stop(handle_.get(), file)); }

    /** State and progress of one file job. */
    se_file_status file_status(se_id file) const {
        auto status = detail::sized<se_file_status>();
        detail::check(se_file_get_status(handle_.get(), file, &status));
        return status;
    }

    /** State and progress of all file jobs: a JSON array. */
    std::string files_json() const { return detail::take(se_files_json(handle_.get())); }

    /** Records a stream until `stop_recording`, as its app's configuration says, or with the keys of `[default_app.record]` in a JSON
     * object. */
    se_id record(const std::string &stream, const char *json = nullptr) {
        se_id recording = 0;
        detail::check(se_record_start(handle_.get(), stream.c_str(), json, &recording));
        return recording;
    }

    /** Ends a recording; its file becomes whole. */
    void stop_recording(se_id recording) { detail::check(se_record_stop(handle_.get(), recording)); }

    /** Ends the file that a recording writes: it is whole when this returns, and what follows is in another one. */
    void cut_recording(se_id recording, std::uint32_t timeout_ms = 10000) {
        detail::check(se_record_cut(handle_.get(), recording, timeout_ms));
    }

    /** State and progress of all recordings: a JSON array. */
    std::string recordings_json() const { return detail::take(se_recordings_json(handle_.get())); }

    /** The recorded files of a stream, the oldest first: a JSON array. */
    std::string recorded_files_json(const std::string &stream) const {
        return detail::take(se_recorded_files_json(handle_.get(), stream.c_str()));
    }

    /**
     * Lets the program decide who may publish and play; an empty function lets the settings decide again.
     *
     * The callback owns the request: it answers at once, or moves it elsewhere to be answered later. One that ends
     * without an answer is refused.
     */
    void set_auth_callback(std::function<void(AuthRequest)> callback) {
        using F = decltype(callback);
        detail::give(std::move(callback), [&](bool some, void *user_data, se_destroy_fn destroy) {
            se_auth_fn call = [](se_auth_request *request, void *function) -> int32_t {
                detail::guarded("auth", [&] { (*static_cast<F *>(function))(AuthRequest(request)); });
                return SE_AUTH_DEFER;  // the request is the wrapper's, also where it has been answered already
            };
            return se_engine_set_auth_callback(handle_.get(), some ? call : nullptr, user_data, destroy);
        });
    }

    /** Says whether what peers send for a name may be a key; then names that are refused are not told. */
    void set_names_may_be_keys(bool enabled) {
        detail::check(se_engine_set_names_may_be_keys(handle_.get(), enabled ? 1 : 0));
    }

    /** Makes a stream key, of the database `keys.url`, or takes one in: its JSON has `key` this once. */
    std::string add_key(const std::string &json) { return detail::take(se_keys_add(handle_.get(), json.c_str())); }

    /** All stream keys, or those of one stream: a JSON array. */
    std::string keys_json(const std::string &stream = {}) const {
        return detail::take(se_keys_json(handle_.get(), detail::or_null(stream)));
    }

    /** Revokes a stream key; what it has opened ends at once. */
    void revoke_key(const std::string &id) { detail::check(se_keys_revoke(handle_.get(), id.c_str())); }

    /** Makes a stream key that opens what another one does, which is good for so many milliseconds yet. */
    std::string rotate_key(const std::string &id, uint64_t overlap_ms) {
        return detail::take(se_keys_rotate(handle_.get(), id.c_str(), overlap_ms));
    }

    /** All stream keys for another database: as secret as this one. */
    std::string export_keys() const { return detail::take(se_keys_export(handle_.get())); }

    /** Takes stream keys in that were exported. */
    void import_keys(const std::string &exported) { detail::check(se_keys_import(handle_.get(), exported.c_str())); }

    /** Counters of the whole engine. */
    se_engine_stats stats() const {
        auto stats = detail::sized<se_engine_stats>();
        detail::check(se_engine_get_stats(handle_.get(), &stats));
        return stats;
    }

    /** Facts and counters of one stream. */
    se_stream_stats stream_stats(const std::string &stream) const {
        auto stats = detail::sized<se_stream_stats>();
        detail::check(se_stream_get_stats(handle_.get(), stream.c_str(), &stats));
        return stats;
    }

    /** Counters and lists as JSON: `SE_STATS_ENGINE` and others, or-ed; 0 for all. */
    std::string stats_json(uint32_t flags = 0) const { return detail::take(se_stats_json(handle_.get(), flags)); }

    /** The whole engine as it was at the newest second, streams with what is wrong with them: a JSON object. */
    std::string snapshot_json() const { return detail::take(se_snapshot_json(handle_.get())); }

    /** What the engine, or a stream, did in each of the last 600 seconds: a JSON array. */
    std::string history_json(const std::string &stream = {}) const {
        return detail::take(se_history_json(handle_.get(), detail::or_null(stream)));
    }

    /** Whether `http://HOST:PORT/` is the dashboard. */
    void set_dashboard(bool enabled) { detail::check(se_http_set_dashboard(handle_.get(), enabled)); }

    /** All streams: a JSON array. */
    std::string streams_json() const { return detail::take(se_streams_json(handle_.get())); }

    /** All sessions, or those of one stream: a JSON array. */
    std::string sessions_json(const std::string &stream = {}) const {
        return detail::take(se_sessions_json(handle_.get(), detail::or_null(stream)));
    }

    /** Ends a session. */
    void kick_session(se_id session, const std::string &reason = {}) {
        detail::check(se_kick(handle_.get(), session, nullptr, 0, detail::or_null(reason)));
    }

    /** Asks the peer of a session to connect anew, to `url` (`rtmp[s]://host[:port]/app`) or to the same place. */
    void request_reconnect(se_id session, const std::string &url = {}) {
        detail::check(se_session_request_reconnect(handle_.get(), session, detail::or_null(url)));
    }

    /** Ends the sessions that something was granted for this credential; how many there were. */
    uint64_t kick_credential(const std::string &credential, const std::string &reason = {}) {
        uint64_t count = 0;
        detail::check(se_kick_credential(handle_.get(), credential.c_str(), detail::or_null(reason), &count));
        return count;
    }

    /** Ends the sessions of a stream: `SE_KICK_PUBLISHER`, `SE_KICK_PLAYERS` or both. */
    void kick_stream(const std::string &stream, uint32_t who, const std::string &reason = {}) {
        detail::check(se_kick(handle_.get(), 0, stream.c_str(), who, detail::or_null(reason)));
    }

    /** For calls of the C interface. */
    se_engine *native() const noexcept { return handle_.get(); }

private:
    detail::Handle<se_engine, se_engine_free> handle_;
};

}  // namespace streamengine

#endif /* STREAMENGINE_HPP */
