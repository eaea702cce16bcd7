// Plays an FLV file again and again to players over HTTP, and prints who comes by which door, until Ctrl-C.
//
//     serve_http FILE.flv [ADDRESS [CERT KEY]]  default 127.0.0.1:8080; with certificate and key (PEM) over HTTPS
//
// Play with `ffplay http://127.0.0.1:8080/live/loop.flv`; players in pages take that URL, or the same with `ws://`.
#include "example.hpp"

static std::string door_name(int32_t door) {
    switch (door) {
        case SE_DOOR_RTMP: return "RTMP";
        case SE_DOOR_HTTP_FLV: return "HTTP";
        case SE_DOOR_WEBSOCKET: return "WebSocket";
        default: return "another door";
    }
}

// Runs on the engine's callback thread. Whom a page asks for is told too: a site may want its own pages only.
static void on_request(streamengine::AuthRequest request) {
    auto info = request.info();
    if (info.action != SE_AUTH_PLAY) {
        return request.deny("this program publishes itself");
    }
    std::string site = *info.origin ? info.origin : "no site";
    // In one piece, as another thread prints too.
    std::cout << std::string(info.peer) + " asks for " + info.stream + " by " + door_name(info.door) +
                     ", on a page of " + site + '\n';
    request.allow();
}

int main(int argc, char **argv) {
    return run([&] {
        if (argc < 2 || argc == 4) {
            std::cerr << "usage: serve_http FILE.flv [ADDRESS [CERT KEY]]\n";
            return 2;
        }
        std::string cert = argc > 4 ? argv[3] : "", key = argc > 4 ? argv[4] : "";
        streamengine::Engine engine;
        engine.set_auth_callback(on_request);
        engine.start();
        engine.publish_file(argv[1], "live/loop");
        auto listener = engine.listen_http(argc > 2 ? argv[2] : "127.0.0.1:8080", cert, key);
        std::cout << "serving at port " + std::to_string(listener.port) + '\n';
        while (!interrupted) {
            auto event = engine.next_event(200);
            if (event && ((*event)->type == SE_EVENT_PLAY_STARTED || (*event)->type == SE_EVENT_PLAY_ENDED)) {
                std::cout << (*event)->json + std::string("\n");
            }
        }
        if (!engine.stop(2000)) {  // players get the end of the stream
            std::cerr << "some connections had to be cut\n";
        }
        return 0;
    });
}
