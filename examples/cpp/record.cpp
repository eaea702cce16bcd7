// Fetches a stream from a server and writes it into an FLV file, until it ends or Ctrl-C.
//
//     record URL FILE.flv
#include "example.hpp"

#include <chrono>
#include <fstream>
#include <future>

// An FLV file: a header, then one tag after the other, each with its size behind it.
class FlvFile {
public:
    explicit FlvFile(const std::string &name) : file_(name, std::ios::binary) {
        file_.exceptions(std::ios::failbit | std::ios::badbit);
        file_.write("FLV\1\5\0\0\0\11\0\0\0\0", 13);
    }

    // The body is the message as it was published.
    void write(const se_frame &frame) {
        start_ = start_ == SE_TIME_UNSET ? frame.dts_ns : start_;
        auto ms = static_cast<uint32_t>((frame.dts_ns - start_) / 1000000);
        auto size = static_cast<uint32_t>(frame.flv_body_len);
        if (size == 0) {
            return;  // of the frames in one tag, the first has it
        }
        put(static_cast<uint32_t>(frame.flv_type), 1);
        put(size, 3);
        put(ms, 3);
        put(ms >> 24, 1);
        put(0, 3);
        file_.write(reinterpret_cast<const char *>(frame.flv_body), static_cast<std::streamsize>(size));
        put(size + 11, 4);
        tags_++;
    }

    void close() { file_.close(); }
    long tags() const { return tags_; }

private:
    void put(uint32_t value, int bytes) {
        while (bytes-- > 0) {
            file_.put(static_cast<char>(value >> (8 * bytes)));
        }
    }

    std::ofstream file_;
    int64_t start_ = SE_TIME_UNSET;
    long tags_ = 0;
};

int main(int argc, char **argv) {
    return run([&] {
        if (argc != 3) {
            std::cerr << "usage: record URL FILE.flv\n";
            return 2;
        }
        // What the callback uses comes first, so that it ends last.
        FlvFile file(argv[2]);
        std::promise<std::string> ended;
        auto end = ended.get_future();
        streamengine::Engine engine;
        engine.start();
        {
            auto subscriber = engine.subscribe("in/stream");
            // Frames come on the engine's callback thread, without a copy.
            subscriber.set_callback([&](const streamengine::BorrowedFrame &frame) { file.write(*frame); },
                                    [&](const std::string &why) { ended.set_value(why); });
            se_id relay = engine.add_pull(argv[1], "in/stream", streamengine::Config().set("on_refusal", "fail"));
            while (!interrupted && end.wait_for(std::chrono::milliseconds(200)) == std::future_status::timeout) {
                auto pull = engine.relay_status(relay);
                if (pull.state == SE_RELAY_FAILED) {
                    throw streamengine::Error(pull.last_error, pull.last_error_text);
                }
            }
        }  // the subscriber has left: no frame comes any more
        if (end.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
            std::cout << end.get() << '\n';
        }
        file.close();
        std::cout << "recorded " << file.tags() << " tags\n";
        return file.tags() > 0 ? 0 : 1;
    });
}
