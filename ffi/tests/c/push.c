/* Serves, waits for a player, and pushes the frames of an FLV file of H.264 and AAC to it as frames, at once.
   Prints the port first. usage: push STREAM FLV-FILE */
#include "check.h"
#include <string.h>

static uint8_t *bytes;
static size_t length;

static void read_file(const char *name)
{
    FILE *file = fopen(name, "rb");
    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    length = (size_t)ftell(file);
    bytes = malloc(length);
    CHECK(bytes != NULL && fseek(file, 0, SEEK_SET) == 0);
    CHECK(fread(bytes, 1, length, file) == length);
    fclose(file);
}

static uint32_t be24(const uint8_t *at)
{
    return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* One tag as a frame: what comes before the payload says what the payload is. */
static void push(se_publisher *publisher, int type, uint32_t ms, const uint8_t *body, size_t len)
{
    int is_video = type == 9;
    size_t head = is_video ? 5 : 2;
    se_frame frame;
    if ((type != 8 && type != 9) || len < head)
        return;
    if (body[1] == 0) {
        OK(se_publisher_set_track(publisher, 0, is_video ? SE_CODEC_H264 : SE_CODEC_AAC, body + head, len - head));
        return;
    }
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.codec = is_video ? SE_CODEC_H264 : SE_CODEC_AAC;
    frame.flags = is_video && body[0] >> 4 == 1 ? SE_FRAME_KEY : 0;
    frame.dts_ns = (int64_t)ms * 1000000;
    frame.pts_ns = frame.dts_ns + (is_video ? (int64_t)be24(body + 2) * 1000000 : 0);
    frame.data = body + head;
    frame.len = len - head;
    OK(se_publisher_push_frame(publisher, &frame));
}

static void wait_for_player(se_engine *engine)
{
    int32_t type = 0;
    while (type != SE_EVENT_PLAY_STARTED) {
        se_event_ref *event;
        OK(se_engine_next_event(engine, 60000, &event));
        type = se_event_ref_get(event)->type;
        se_event_ref_free(event);
    }
}

int main(int argc, char **argv)
{
    se_engine *engine;
    se_publisher *publisher;
    uint16_t port;
    size_t at = 13;

    CHECK(argc == 3);
    setvbuf(stdout, NULL, _IOLBF, 0);
    read_file(argv[2]);
    OK(se_engine_new(NULL, &engine));
    OK(se_engine_start(engine));
    OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, &port));
    printf("serving at port %u\n", (unsigned)port);
    wait_for_player(engine);
    OK(se_publisher_open(engine, argv[1], NULL, &publisher));
    while (at + 11 <= length) {
        const uint8_t *tag = bytes + at;
        size_t len = be24(tag + 1);
        CHECK(at + 11 + len <= length);
        push(publisher, tag[0], be24(tag + 4) | (uint32_t)tag[7] << 24, tag + 11, len);
        at += 11 + len + 4;
    }
    se_publisher_free(publisher);
    OK(se_engine_stop(engine, 10000)); /* the player gets what is left */
    se_engine_free(engine);
    free(bytes);
    return 0;
}
