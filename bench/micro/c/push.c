/* The C side of bench/boundary: what src/push.rs does, through the C library. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <streamengine.h>
#include <string.h>
#include <time.h>

enum { ROUND = 64 };

static const uint8_t avcc[] = {1,    0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 5, 0x67, 0x4d, 0x40,
                               0x1e, 0xd9, 1,    0,    4,    0x68, 0xe9, 0x78, 0x80};

static void ok(se_status status)
{
    if (status != SE_OK) {
        printf("%s\n", se_last_error());
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void push_frame(se_publisher *publisher, uint32_t number, const uint8_t *data, size_t len)
{
    se_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.codec = SE_CODEC_H264;
    frame.format = SE_FORMAT_NATIVE;
    frame.pts_ns = (int64_t)number * 1000000;
    frame.dts_ns = SE_TIME_UNSET;
    frame.data = data;
    frame.len = len;
    ok(se_publisher_push_frame(publisher, &frame));
}

static void push_tag(se_publisher *publisher, uint32_t number, const uint8_t *body, size_t len)
{
    ok(se_publisher_push_flv_tag(publisher, 9, number, body, len));
}

typedef void push_fn(se_publisher *, uint32_t, const uint8_t *, size_t);

/* Times `push` over all but the first tenth of the frames. */
static double timed(push_fn *push, se_publisher *publisher, uint32_t frames, const uint8_t *data, size_t len)
{
    uint32_t number = 0, warm_up = frames / 10;
    double start;
    for (; number < warm_up; number++)
        push(publisher, number, data, len);
    start = now();
    for (; number < warm_up + frames; number++)
        push(publisher, number, data, len);
    return (now() - start) / frames;
}

/* Pushes rounds of frames, and times only the reading of them. */
static double timed_reading(se_publisher *publisher, se_subscriber *subscriber, uint32_t frames,
                            const uint8_t *body, size_t len)
{
    se_frame_ref *frame;
    double start, total = 0;
    uint32_t round, number;
    for (round = 0; round < frames / ROUND; round++) {
        for (number = 0; number < ROUND; number++)
            push_tag(publisher, round * ROUND + number, body, len);
        start = now();
        for (number = 0; number < ROUND; number++) {
            ok(se_subscriber_next(subscriber, 0, &frame));
            if (se_frame_ref_get(frame)->flv_body_len != len)
                exit(1);
            se_frame_ref_free(frame);
        }
        total += now() - start;
    }
    return total / (frames / ROUND * ROUND);
}

int main(int argc, char **argv)
{
    const char *path = argc == 4 ? argv[1] : "";
    uint32_t frames = argc == 4 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
    size_t len = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    uint8_t *data = len > 4 ? malloc(len) : NULL;
    se_engine *engine;
    se_publisher *publisher;
    se_subscriber *subscriber = NULL;
    double nanoseconds;

    if (data == NULL || frames == 0) {
        puts("usage: push frame|tag|next FRAMES BYTES; prints nanoseconds per frame");
        return 2;
    }
    memset(data, 0x55, len);
    ok(se_engine_new(NULL, &engine));
    ok(se_engine_start(engine));
    ok(se_publisher_open(engine, "live/bench", NULL, &publisher));
    if (strcmp(path, "frame") == 0) {
        /* A NAL unit of a non-key picture behind its length. */
        data[0] = (uint8_t)((len - 4) >> 24), data[1] = (uint8_t)((len - 4) >> 16);
        data[2] = (uint8_t)((len - 4) >> 8), data[3] = (uint8_t)(len - 4), data[4] = 0x41;
        ok(se_publisher_set_track(publisher, 0, SE_CODEC_H264, avcc, sizeof avcc));
        nanoseconds = timed(push_frame, publisher, frames, data, len);
    } else {
        memset(data, 0, 5);
        data[0] = strcmp(path, "next") == 0 ? 0x17 : 0x27, data[1] = 1;
        if (strcmp(path, "next") == 0) {
            ok(se_subscriber_open(engine, "live/bench", NULL, &subscriber));
            nanoseconds = timed_reading(publisher, subscriber, frames, data, len);
        } else {
            nanoseconds = timed(push_tag, publisher, frames, data, len);
        }
    }
    printf("%.2f\n", nanoseconds);
    se_subscriber_free(subscriber);
    se_publisher_free(publisher);
    se_engine_free(engine);
    free(data);
    return 0;
}
