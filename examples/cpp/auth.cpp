// Serves RTMP; who may publish is decided on another thread, as where a database must be asked.
//
//     auth [ADDRESS [KEY]]                     publish to rtmp://ADDRESS/live/NAME?key=KEY
#include "example.hpp"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

// Answers requests one after the other on a thread of its own.
class Desk {
public:
    explicit Desk(std::string key) : key_(std::move(key)), worker_([this] { work(); }) {}

    ~Desk() {
        {
            std::lock_guard lock(mutex_);
            ending_ = true;
        }
        more_.notify_one();
        worker_.join();
    }

    void add(streamengine::AuthRequest request) {
        {
            std::lock_guard lock(mutex_);
            waiting_.push_back(std::move(request));
        }
        more_.notify_one();
    }

private:
    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            more_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
            if (waiting_.empty()) {
                return;
            }
            auto request = std::move(waiting_.front());
            waiting_.pop_front();
            lock.unlock();
            answer(std::move(request));
            lock.lock();
        }
    }

    // Stands for something that takes its time.
    void answer(streamengine::AuthRequest request) {
        auto info = request.info();
        bool right = ('&' + std::string(info.query) + '&').find("&key=" + key_ + '&') != std::string::npos;
        std::cout << std::string(right ? "granted" : "refused") + " to " + info.stream + " from " + info.peer + '\n';
        if (right) {
            request.allow("holder of the key");
        } else {
            request.deny("ask the owner for a key");
        }
    }

    std::string key_;
    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<streamengine::AuthRequest> waiting_;
    bool ending_ = false;
    std::thread worker_;
};

int main(int argc, char **argv) {
    return run([&] {
        Desk desk(argc > 2 ? argv[2] : "secret");
        streamengine::Engine engine;
        // Runs on the engine's callback thread: it must be quick, so it only decides what is clear.
        engine.set_auth_callback([&](streamengine::AuthRequest request) {
            if (request.info().action == SE_AUTH_PLAY) {
                request.allow();
            } else {
                desk.add(std::move(request));
            }
        });
        engine.start();
        auto listener = engine.listen_rtmp(argc > 1 ? argv[1] : "127.0.0.1:1935");
        std::cout << "serving at port " + std::to_string(listener.port) + '\n';
        while (!interrupted) {
            if (auto event = engine.next_event(200)) {
                std::cout << (*event)->json + std::string("\n");
            }
        }
        return 0;
    });
}
