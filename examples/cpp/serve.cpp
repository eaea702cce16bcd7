// Serves RTMP and prints what happens, until Ctrl-C.
//
//     serve [ADDRESS]                          default 127.0.0.1:1935; port 0 takes any free one
//
// Publish with `ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1/live/demo`, play with `ffplay` on the same URL.
#include "example.hpp"

int main(int argc, char **argv) {
    return run([&] {
        // Ctrl-C is waited for at the end; until then it waits too, also in the threads of the engine.
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, nullptr);

        streamengine::Engine engine;
        // Runs on the engine's callback thread. In one piece, as this thread prints too.
        engine.set_event_callback([](const se_event &event) { std::cout << event.json + std::string("\n"); });
        engine.start();
        auto listener = engine.listen_rtmp(argc > 1 ? argv[1] : "127.0.0.1:1935");
        std::cout << "serving at port " + std::to_string(listener.port) + '\n';

        int signal = 0;
        sigwait(&signals, &signal);
        // Publishers and players are told, for two seconds at most.
        if (!engine.stop(2000)) {
            std::cerr << "some connections had to be cut\n";
        }
        return 0;
    });
}
