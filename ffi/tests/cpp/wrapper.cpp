// The promises of streamengine.hpp, one function each. Ends with 1 at the first that is broken.
#include <streamengine.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <thread>
#include <vector>

using namespace streamengine;

#define CHECK(what)                                                          \
    do {                                                                     \
        if (!(what)) {                                                       \
            std::cerr << __FILE__ << ':' << __LINE__ << ": " #what << '\n'; \
            std::exit(1);                                                    \
        }                                                                    \
    } while (false)

namespace {

// Something that happens on another thread, to be waited for.
class Signal {
public:
    void set() {
        std::lock_guard lock(mutex_);
        count_++;
        changed_.notify_all();
    }
    bool wait(int count = 1) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return count_ >= count; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int count_ = 0;
};

// Whether something becomes true that another thread does soon.
template <class F>
bool eventually(F is_so) {
    auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!is_so() && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return is_so();
}

// What a callback captures: counts when the last copy of it ends.
struct Token {
    explicit Token(std::atomic<int> &count) : ended(nullptr, [&count](void *) { count++; }) {}
    std::shared_ptr<void> ended;
};

const uint8_t aac_config[] = {0x11, 0x90};
const uint8_t aac_frame[] = {0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c};

se_frame sound(int64_t ms) {
    return make_frame(SE_CODEC_AAC, SE_FORMAT_NATIVE, aac_frame, sizeof aac_frame, ms * 1000000);
}

Publisher publisher_of(Engine &engine, const std::string &stream) {
    auto publisher = engine.publish(stream);
    publisher.set_track(0, SE_CODEC_AAC, aac_config, sizeof aac_config);
    return publisher;
}

// The next frame that is sound itself.
Frame next_sound(Subscriber &subscriber) {
    for (;;) {
        auto frame = subscriber.next(30000);
        CHECK(frame);
        if (!((*frame)->flags & SE_FRAME_CONFIG)) {
            return *frame;
        }
    }
}

template <class F>
int32_t code_of(F call) {
    try {
        call();
    } catch (const Error &error) {
        CHECK(std::string(error.what()) != "");
        CHECK(std::string(error.name()).rfind("SE_E_", 0) == 0);
        return error.code();
    }
    return SE_OK;
}

void errors_carry_code_and_text() {
    Engine engine;
    CHECK(code_of([&] { engine.listen_rtmp("127.0.0.1:0"); }) == SE_E_STATE);
    engine.start();
    CHECK(code_of([&] { engine.start(); }) == SE_E_STATE);
    CHECK(code_of([&] { engine.listen_rtmp("nonsense"); }) == SE_E_INVALID_ARGUMENT);
    CHECK(code_of([&] { engine.close_listener(12345678); }) == SE_E_NOT_FOUND);
    CHECK(code_of([&] { engine.publish_file("/does/not/exist.flv", "live/file"); }) == SE_E_NOT_FOUND);
    CHECK(code_of([&] { engine.subscribe("live/a").set_callback({}); }) == SE_E_INVALID_ARGUMENT);
    auto listener = engine.listen_rtmp("127.0.0.1:0");
    try {
        engine.listen_rtmp("127.0.0.1:" + std::to_string(listener.port));
        CHECK(!"a taken port");
    } catch (const Error &error) {
        CHECK(error.code() == SE_E_ADDRESS_IN_USE);
        CHECK(std::string(error.what()).find(std::to_string(listener.port)) != std::string::npos);
    }
}

void settings_are_texts_numbers_and_truths() {
    Config config;
    config.set("limits.ring_ms", 5000).set("publish.open", true).set("default_app.takeover", "reject");
    config.load_json(R"({"rtmp": {"listen": ["127.0.0.1:0"]}})");
    auto dump = config.dump_json();
    CHECK(dump.find("5000") != std::string::npos && dump.find("reject") != std::string::npos);
    CHECK(code_of([&] { config.set("limits.no_such", 1); }) == SE_E_INVALID_ARGUMENT);
    Engine engine(config);
    engine.start();
    auto event = engine.next_event(30000);
    CHECK(event && (*event)->type == SE_EVENT_LISTENER_OPENED);
}

void frames_go_round_without_copies() {
    Engine engine;
    engine.start();
    auto subscriber = engine.subscribe("live/a");
    CHECK(!subscriber.next(0));
    auto publisher = publisher_of(engine, "live/a");
    publisher.push(sound(0));
    Frame first = next_sound(subscriber);
    CHECK(first->codec == SE_CODEC_AAC && first->len == sizeof aac_frame);
    CHECK(std::memcmp(first->data, aac_frame, sizeof aac_frame) == 0);
    Frame copy = first;
    CHECK(copy->data == first->data);
    first = std::move(copy);

    auto owner = std::make_shared<std::vector<uint8_t>>(100000, uint8_t{7});
    std::weak_ptr<void> watch = owner;
    auto frame = make_frame(SE_CODEC_AAC, SE_FORMAT_NATIVE, owner->data(), owner->size(), 20000000);
    publisher.push(frame, std::move(owner));
    Frame large = next_sound(subscriber);
    CHECK(large->len == 100000 && large->data[99999] == 7);

    {
        auto ended = std::move(publisher);
    }
    CHECK(code_of([&] { subscriber.next(30000); }) == SE_E_CLOSED);
    engine.stop(0);
    CHECK(large->data[0] == 7);  // still held
    engine = Engine();
    large = first;
    CHECK(eventually([&] { return watch.expired(); }));
}

void frame_callbacks_get_frames_and_the_end() {
    std::atomic<int> ended{0};
    Signal sounds, end;
    Engine engine;
    engine.start();
    std::vector<Frame> kept;
    auto subscriber = engine.subscribe("live/a");
    subscriber.set_callback(
        [&, token = Token(ended)](const BorrowedFrame &frame) {
            if (!(frame->flags & SE_FRAME_CONFIG)) {
                kept.push_back(frame.keep());
                sounds.set();
            }
        },
        [&](const std::string &why) {
            CHECK(why.find("unpublished") != std::string::npos);
            end.set();
        });
    CHECK(code_of([&] { subscriber.next(0); }) == SE_E_STATE);
    {
        auto publisher = publisher_of(engine, "live/a");
        publisher.push(sound(0));
        publisher.push(sound(20));
        CHECK(sounds.wait(2));
    }
    CHECK(end.wait());
    { auto gone = std::move(subscriber); }
    CHECK(eventually([&] { return ended == 1; }));
    CHECK(kept.size() == 2 && kept[1]->dts_ns - kept[0]->dts_ns == 20000000);
}

std::atomic<int> escaped{0};

void exceptions_stay_in_callbacks() {
    on_escaped_exception = [](const char *callback, const char *what) {
        CHECK(std::string(callback) == "event" && std::string(what) == "thrown");
        escaped++;
    };
    std::atomic<int> ended{0};
    Signal called;
    Engine engine;
    engine.set_event_callback([&, token = Token(ended)](const se_event &) {
        called.set();
        throw std::runtime_error("thrown");
    });
    engine.start();
    engine.listen_rtmp("127.0.0.1:0");
    auto listener = engine.listen_rtmp("127.0.0.1:0");
    CHECK(called.wait(2));
    engine.set_event_callback({});
    CHECK(eventually([&] { return ended == 1; }));
    CHECK(escaped == 2);
    engine.close_listener(listener.id);
    auto event = engine.next_event(30000);
    CHECK(event && (*event)->type == SE_EVENT_LISTENER_CLOSED && (*event)->id == listener.id);
}

// A second engine asks for rights in the first.
void requests_are_answered_kept_or_refused() {
    Signal asked;
    std::optional<AuthRequest> later;
    Engine server;
    server.set_names_may_be_keys(true);
    server.set_auth_callback([&](AuthRequest request) {
        auto info = request.info();
        CHECK(info.action == SE_AUTH_PUBLISH && info.door == SE_DOOR_RTMP && info.tls == 0);
        if (std::string(info.stream) == "live/granted") {
            return request.grant(R"({"stream": "live/here", "credential": "c"})");
        }
        if (std::string(info.stream) == "live/passed") {
            return request.pass();
        }
        if (std::string(info.stream) == "live/now") {
            request.allow("somebody");
        } else if (std::string(info.stream) == "live/later") {
            later.emplace(std::move(request));
            asked.set();
        } else if (std::string(info.stream) == "live/throws") {
            throw 7;
        }
    });
    on_escaped_exception = [](const char *callback, const char *) { CHECK(std::string(callback) == "auth"); };
    server.start();
    auto url = "rtmp://127.0.0.1:" + std::to_string(server.listen_rtmp("127.0.0.1:0").port) + "/live/";

    Engine encoder;
    encoder.start();
    auto publisher = publisher_of(encoder, "out/a");
    publisher.push(sound(0));
    Config once;
    once.set("on_refusal", "fail");
    auto now = encoder.add_push("out/a", url + "now", once);
    encoder.add_push("out/a", url + "granted", once);
    CHECK(eventually([&] { return server.streams_json().find("live/here") != std::string::npos; }));
    CHECK(server.kick_credential("c", "over") == 1);
    encoder.add_push("out/a", url + "passed", once);
    CHECK(eventually([&] { return server.streams_json().find("live/passed") != std::string::npos; }));
    auto dropped = encoder.add_push("out/a", url + "dropped", once);
    auto throws = encoder.add_push("out/a", url + "throws", once);
    auto late = encoder.add_push("out/a", url + "later", once);
    CHECK(asked.wait());
    std::thread([&] { later->allow(); }).join();

    auto reaches = [&](se_id relay, int32_t state) {
        return eventually([&] { return encoder.relay_status(relay).state == state; });
    };
    CHECK(reaches(now, SE_RELAY_PUBLISHING));
    CHECK(reaches(late, SE_RELAY_PUBLISHING));
    CHECK(reaches(dropped, SE_RELAY_FAILED));
    CHECK(reaches(throws, SE_RELAY_FAILED));
    auto status = encoder.relay_status(dropped);
    CHECK(status.last_error == SE_E_REJECTED && std::string(status.last_error_text) != "");
}

void http_listeners_are_plain_or_have_certificate_and_key() {
    Engine engine;
    engine.start();
    if (build_info_json().find("\"http\":true") == std::string::npos) {
        CHECK(code_of([&] { engine.listen_http("127.0.0.1:0"); }) == SE_E_UNSUPPORTED);
        return;
    }
    auto listener = engine.listen_http("127.0.0.1:0");
    CHECK(listener.id != 0 && listener.port != 0);
    auto taken = "127.0.0.1:" + std::to_string(listener.port);
    CHECK(code_of([&] { engine.listen_http(taken); }) == SE_E_ADDRESS_IN_USE);
    CHECK(code_of([&] { engine.listen_http("127.0.0.1:0", "cert.pem"); }) == SE_E_INVALID_ARGUMENT);
    CHECK(code_of([&] { engine.listen_http("127.0.0.1:0", "/no/cert.pem", "/no/key.pem"); }) == SE_E_NOT_FOUND);
    CHECK(code_of([&] { engine.reload_tls(listener.id); }) == SE_E_STATE);
    CHECK(engine.reload(streamengine::Config()).find("\"changes\"") != std::string::npos);
    engine.close_listener(listener.id);
}

void lists_and_counters_are_there() {
    Engine engine;
    engine.start();
    auto publisher = publisher_of(engine, "live/a");
    publisher.set_metadata_json(R"({"title": "a"})");
    publisher.push(sound(0));
    CHECK(engine.stats().streams_live == 1);
    CHECK(engine.stream_stats("live/a").state == SE_STREAM_LIVE);
    CHECK(engine.streams_json().find("live/a") != std::string::npos);
    CHECK(engine.stats_json(SE_STATS_ENGINE).find("\"engine\"") != std::string::npos);
    CHECK(engine.snapshot_json().find("\"rates\"") != std::string::npos);
    CHECK(engine.history_json().front() == '[');
    CHECK(code_of([&] { engine.history_json("live/none"); }) == SE_E_NOT_FOUND);
    CHECK(code_of([&] { engine.remove_origin("near"); }) == SE_E_NOT_FOUND);
    CHECK(code_of([&] { engine.set_origin("near", R"({"urls": []})"); }) == SE_E_INVALID_ARGUMENT);
    engine.set_origin("near", R"({"urls": ["rtmp://127.0.0.1:1"]})");
    CHECK(engine.origins_json().find("\"alias\":\"near\"") != std::string::npos);
    engine.remove_origin("near");
    CHECK(engine.origins_json() == "[]");
    CHECK(engine.relays_json() == "[]" && engine.files_json() == "[]" && engine.sessions_json() == "[]");
    engine.kick_stream("live/a", SE_KICK_PUBLISHER | SE_KICK_PLAYERS, "over");
    CHECK(code_of([&] { publisher.push(sound(20)); }) == SE_E_CLOSED);
    CHECK(version() == std::to_string(SE_VERSION_MAJOR) + "." + std::to_string(SE_VERSION_MINOR) + "." +
                           std::to_string(SE_VERSION_PATCH));
    CHECK(build_info_json().find("\"version\"") != std::string::npos);
}

void the_log_is_told_and_ends() {
    std::atomic<int> ended{0};
    Signal lines;
    set_log(SE_LOG_DEBUG, [&, token = Token(ended)](const se_log_record &record) {
        CHECK(record.target && record.message);
        lines.set();
    });
    {
        Engine engine;
        engine.start();
        auto publisher = publisher_of(engine, "live/a");
        publisher.push(sound(0));
        engine.add_push("live/a", "rtmp://127.0.0.1:1/nobody/here");
        CHECK(lines.wait());
    }
    CHECK(code_of([] { set_log_filter("rtmp=no_such_level"); }) == SE_E_INVALID_ARGUMENT);
    set_log(SE_LOG_OFF, {});
    CHECK(eventually([&] { return ended == 1; }));
}

}  // namespace

int main() {
    errors_carry_code_and_text();
    settings_are_texts_numbers_and_truths();
    frames_go_round_without_copies();
    frame_callbacks_get_frames_and_the_end();
    exceptions_stay_in_callbacks();
    requests_are_answered_kept_or_refused();
    http_listeners_are_plain_or_have_certificate_and_key();
    lists_and_counters_are_there();
    the_log_is_told_and_ends();
    std::cout << "done\n";
    return 0;
}
