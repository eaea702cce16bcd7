// Plays an FLV file again and again as a live stream, pushes it to two servers, and prints how they take it.
//
//     loop FILE URL URL [LOOPS]                default: until Ctrl-C
#include "example.hpp"

static const char *state_name(int32_t state) {
    switch (state) {
        case SE_RELAY_IDLE: return "idle";
        case SE_RELAY_RESOLVING: return "resolving";
        case SE_RELAY_CONNECTING: return "connecting";
        case SE_RELAY_HANDSHAKING: return "handshaking";
        case SE_RELAY_PUBLISHING: return "publishing";
        case SE_RELAY_STALLED: return "stalled";
        case SE_RELAY_BACKING_OFF: return "waiting";
        case SE_RELAY_FAILED: return "failed";
        default: return "?";
    }
}

static void print_status(const streamengine::Engine &engine, se_id relay) {
    auto status = engine.relay_status(relay);
    std::cout << status.url << ": " << state_name(status.state) << ", " << status.frames << " frames, "
              << status.bytes_sent << " bytes, " << status.retries << " retries";
    if (status.last_error != SE_OK) {
        std::cout << ", last error: " << status.last_error_text;
    }
    std::cout << '\n';
}

int main(int argc, char **argv) {
    return run([&] {
        if (argc < 4) {
            std::cerr << "usage: loop FILE URL URL [LOOPS]\n";
            return 2;
        }
        streamengine::Engine engine;
        engine.start();
        const se_id relays[] = {engine.add_push("live/loop", argv[2]), engine.add_push("live/loop", argv[3])};
        se_id file = engine.publish_file(argv[1], "live/loop", argc > 4 ? std::stoi(argv[4]) : -1);

        while (!interrupted && engine.file_status(file).state == SE_FILE_PLAYING) {
            // What changes is told at once, and everything once a second.
            auto event = engine.next_event(1000);
            if (!event) {
                for (se_id relay : relays) {
                    print_status(engine, relay);
                }
            } else if ((*event)->type == SE_EVENT_RELAY_STATE || (*event)->type == SE_EVENT_FILE_STATE) {
                std::cout << (*event)->peer << ": " << (*event)->message << '\n';
            }
        }
        for (se_id relay : relays) {
            print_status(engine, relay);
        }
        if (!engine.stop(2000)) {  // both targets get the end of the stream
            std::cerr << "some connections had to be cut\n";
        }
        return 0;
    });
}
