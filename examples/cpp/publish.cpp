// Publishes pictures on a server, as a screen recorder does.
//
//     publish SOURCE URL [PICTURES-PER-SECOND]
//
// SOURCE is a file of H.264 in Annex B form, or `-` for standard input. A whole screen, by way of ffmpeg:
//
//     ffmpeg -f x11grab -i :0 -r 25 -c:v libx264 -tune zerolatency -f h264 - | publish - rtmp://HOST/live/screen 25
#include "example.hpp"

#include <cerrno>
#include <chrono>
#include <fcntl.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono;

// Takes pictures (access units) one by one out of an H.264 byte stream, as soon as the next one begins.
class Pictures {
public:
    explicit Pictures(const std::string &name) : fd_(name == "-" ? 0 : open(name.c_str(), O_RDONLY)) {
        if (fd_ < 0) {
            throw std::runtime_error(name + ": " + std::strerror(errno));
        }
    }
    ~Pictures() { close(fd_); }
    Pictures(const Pictures &) = delete;
    Pictures &operator=(const Pictures &) = delete;

    // The next picture; empty at the end.
    std::vector<uint8_t> next() {
        bool sliced = false;
        for (size_t at = 0;; at++) {
            while (bytes_.size() < at + 5) {
                if (!read_more()) {
                    return std::exchange(bytes_, {});
                }
            }
            const uint8_t *here = &bytes_[at];
            if (here[0] || here[1] || here[2] != 1) {
                continue;
            }
            if (sliced && begins_picture(here + 3)) {
                return take(here[-1] ? at : at - 1);  // the start code may have one zero more
            }
            sliced |= is_slice(here + 3);
        }
    }

private:
    static bool is_slice(const uint8_t *nal) { return (nal[0] & 31) >= 1 && (nal[0] & 31) <= 5; }

    // Whether a NAL unit, coming after a slice, begins another picture: delimiter, parameter set, SEI or first slice.
    static bool begins_picture(const uint8_t *nal) {
        return is_slice(nal) ? nal[1] >> 7 : (nal[0] & 31) >= 6 && (nal[0] & 31) <= 9;
    }

    std::vector<uint8_t> take(size_t count) {
        auto end = bytes_.begin() + static_cast<std::ptrdiff_t>(count);
        std::vector<uint8_t> picture(bytes_.begin(), end);
        bytes_.erase(bytes_.begin(), end);
        return picture;
    }

    bool read_more() {
        size_t before = bytes_.size();
        bytes_.resize(before + 65536);
        ssize_t got = 0;
        do {
            got = read(fd_, bytes_.data() + before, 65536);
        } while (got < 0 && errno == EINTR && !interrupted);
        bytes_.resize(before + (got > 0 ? static_cast<size_t>(got) : 0));
        return got > 0;
    }

    int fd_;
    std::vector<uint8_t> bytes_;
};

static long publish(streamengine::Engine &engine, Pictures &pictures, int rate) {
    auto publisher = engine.publish("live/capture");
    publisher.set_metadata_json(R"({"encoder": "publish.cpp"})");
    auto start = steady_clock::now();
    long count = 0;
    while (!interrupted) {
        auto picture = pictures.next();
        if (picture.empty()) {
            break;
        }
        // The pace of a live stream is the program's own: a push never waits.
        auto time = nanoseconds(seconds(count)) / rate;
        std::this_thread::sleep_until(start + time);
        publisher.push(streamengine::make_frame(SE_CODEC_H264, SE_FORMAT_ANNEXB, picture.data(), picture.size(),
                                                time.count()));
        count++;
    }
    return count;  // the publisher's end is the stream's
}

int main(int argc, char **argv) {
    return run([&] {
        int rate = argc > 3 ? std::stoi(argv[3]) : 25;
        if (argc < 3 || rate < 1) {
            std::cerr << "usage: publish SOURCE URL [PICTURES-PER-SECOND]\n";
            return 2;
        }
        Pictures pictures(argv[1]);
        streamengine::Engine engine;
        engine.start();
        // The engine connects as soon as the stream is live, and again whenever the connection is lost.
        se_id relay = engine.add_push("live/capture", argv[2]);
        long count = publish(engine, pictures, rate);
        auto target = engine.relay_status(relay);
        std::cout << "published " << count << " pictures to " << target.url << '\n';
        if (target.last_error != SE_OK) {
            throw streamengine::Error(target.last_error, target.last_error_text);
        }
        if (!engine.stop(2000)) {  // sends what is left
            std::cerr << "not everything could be sent\n";
            return 1;
        }
        return 0;
    });
}
