/* Uses the whole library, on good paths and on bad ones, and frees in every order: for valgrind and the sanitizers.
   usage: all FLV-FILE */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <string.h>

/* ---- counting what callbacks are given back ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct counter {
    int calls, destroyed, keyframes, ends;
    se_frame_ref *kept;
    se_engine *engine;
};

static void tell(int *number)
{
    pthread_mutex_lock(&lock);
    ++*number;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(int *number, int least)
{
    pthread_mutex_lock(&lock);
    while (*number < least)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void destroy(void *user_data)
{
    tell(&((struct counter *)user_data)->destroyed);
}

static void on_log(const se_log_record *record, void *user_data)
{
    CHECK(record->message != NULL && record->target != NULL);
    tell(&((struct counter *)user_data)->calls);
}

static void on_event(const se_event *event, void *user_data)
{
    CHECK(event->json[0] == '{' && event->stream != NULL);
    tell(&((struct counter *)user_data)->calls);
}

/* Sums up all bytes, so that a tool sees whether they may be read. */
static unsigned sum(const uint8_t *bytes, size_t len)
{
    unsigned total = 0;
    while (len-- > 0)
        total += *bytes++;
    return total;
}

static void on_frame(const se_frame *frame, const se_frame_ref *reference, void *user_data)
{
    struct counter *counter = user_data;
    if (frame == NULL) {
        CHECK(reference == NULL && se_last_error()[0] != '\0');
        tell(&counter->ends);
        return;
    }
    CHECK(frame->struct_size == sizeof *frame);
    CHECK(sum(frame->data, frame->len) <= sum(frame->flv_body, frame->flv_body_len));
    CHECK(se_frame_ref_get(reference) == frame);
    if (counter->kept == NULL)
        CHECK((counter->kept = se_frame_ref_clone(reference)) != NULL);
    if (counter->engine != NULL) {
        se_engine_free(counter->engine);
        /* At the end another thread has freed it already. */
        CHECK(strstr(se_last_error(), "callback") != NULL ||
              strstr(se_last_error(), "it has been freed") != NULL);
    }
    if (frame->flags & SE_FRAME_KEY)
        tell(&counter->keyframes);
    tell(&counter->calls);
}

static int32_t on_auth(se_auth_request *request, void *user_data)
{
    struct counter *counter = user_data;
    se_auth_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(se_auth_request_get(request, &info));
    CHECK(strncmp(info.stream, "live/", 5) == 0 && info.peer[0] != '\0');
    tell(&counter->calls);
    if (strstr(info.stream, "denied") != NULL)
        return SE_AUTH_DENY;
    if (strstr(info.stream, "later") != NULL) {
        se_auth_request_reply(request, 1, "the test");
        return SE_AUTH_DEFER;
    }
    return SE_AUTH_ALLOW;
}

/* ---- small parts ---- */

static void facts(void)
{
    char *text;
    int number;
    CHECK(se_version_number() == SE_VERSION_NUMBER);
    CHECK(strlen(se_version_string()) >= 5);
    for (number = -110; number < 140; number++)
        CHECK(se_status_name(number)[0] != '\0' && se_codec_name(number)[0] != '\0');
    CHECK((text = se_build_info_json()) != NULL && strstr(text, "version") != NULL);
    se_string_free(text);
    se_string_free(NULL);
}

static void settings(void)
{
    se_config *config = se_config_new();
    char *text;
    CHECK(config != NULL);
    OK(se_config_set(config, "limits.ring_ms", "5000"));
    OK(se_config_load_json(config, "{\"rtmp\": {\"listen\": [\"127.0.0.1:0\"]}}"));
    EXPECT(SE_E_INVALID_ARGUMENT, se_config_set(config, "limits.rings", "1"));
    CHECK(strstr(se_last_error(), "limits.rings") != NULL);
    EXPECT(SE_E_INVALID_ARGUMENT, se_config_load_json(config, "{"));
    EXPECT(SE_E_INVALID_ARGUMENT, se_config_set(NULL, "a", "b"));
    CHECK((text = se_config_dump_json(config)) != NULL && strstr(text, "5000") != NULL);
    se_string_free(text);
    se_config_free(config);
    se_config_free(NULL);
}

static void no_handles(void)
{
    se_frame_ref *frame;
    EXPECT(SE_E_INVALID_ARGUMENT, se_engine_start(NULL));
    EXPECT(SE_E_INVALID_ARGUMENT, se_publisher_push_frame(NULL, NULL));
    EXPECT(SE_E_INVALID_ARGUMENT, se_subscriber_next(NULL, 0, &frame));
    EXPECT(SE_E_INVALID_ARGUMENT, se_listener_close(NULL, 1));
    CHECK(se_frame_ref_get(NULL) == NULL && se_event_ref_get(NULL) == NULL);
    se_engine_free(NULL);
    se_publisher_free(NULL);
    se_subscriber_free(NULL);
    se_frame_ref_free(NULL);
    se_event_ref_free(NULL);
    se_auth_request_reply(NULL, 1, NULL);
}

/* ---- pushing ---- */

static const uint8_t avcc[] = {1,    0x4d, 0x40, 0x1e, 0xff, 0xe1, 0, 5, 0x67, 0x4d, 0x40,
                               0x1e, 0xd9, 1,    0,    4,    0x68, 0xe9, 0x78, 0x80};
static const uint8_t picture[] = {0, 0, 0, 5, 0x65, 0x88, 0x84, 0, 0x33};
static const uint8_t annex_b[] = {0, 0, 0, 1, 0x67, 0x4d, 0x40, 0x1e, 0xd9, 0, 0,    0,    1,    0x68,
                                  0xe9, 0x78, 0x80, 0, 0, 1, 0x65, 0x88, 0x84, 0, 0x33};
static const uint8_t adts[] = {0xff, 0xf1, 0x4c, 0x40, 0x01, 0x3f, 0xfc, 0x21, 0x10};

static se_frame a_frame(int32_t codec, int32_t format, int64_t at_ms, const void *data, size_t len)
{
    se_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.codec = codec;
    frame.format = format;
    frame.pts_ns = at_ms * 1000000;
    frame.dts_ns = SE_TIME_UNSET;
    frame.data = data;
    frame.len = len;
    return frame;
}

static void push_frames(se_publisher *publisher, struct counter *released)
{
    uint8_t *tag = malloc(9000);
    se_frame frame = a_frame(SE_CODEC_H264, SE_FORMAT_NATIVE, 0, picture, sizeof picture);
    int before = released->destroyed;

    EXPECT(SE_E_STATE, se_publisher_push_frame(publisher, &frame));
    OK(se_publisher_set_track(publisher, 0, SE_CODEC_H264, avcc, sizeof avcc));
    EXPECT(SE_E_FORMAT, se_publisher_set_track(publisher, 0, SE_CODEC_H264, adts, sizeof adts));
    OK(se_publisher_set_metadata_json(publisher, "{\"width\": 640, \"names\": [\"a\", {\"b\": null}]}"));
    EXPECT(SE_E_INVALID_ARGUMENT, se_publisher_set_metadata_json(publisher, "7"));
    OK(se_publisher_push_frame(publisher, &frame));
    OK(se_publisher_push_frame_ref(publisher, &frame, destroy, released));
    frame = a_frame(SE_CODEC_H264, SE_FORMAT_ANNEXB, 40, annex_b, sizeof annex_b);
    OK(se_publisher_push_frame(publisher, &frame));
    frame = a_frame(SE_CODEC_AAC, SE_FORMAT_ADTS, 40, adts, sizeof adts);
    OK(se_publisher_push_frame(publisher, &frame));
    frame.len--;
    EXPECT(SE_E_FORMAT, se_publisher_push_frame_ref(publisher, &frame, destroy, released));
    CHECK(released->destroyed == before + 2);

    /* A tag that the library keeps until its readers have it no more. */
    CHECK(tag != NULL);
    memset(tag, 3, 9000);
    tag[0] = 0x17, tag[1] = 1;
    frame = a_frame(SE_CODEC_NONE, SE_FORMAT_FLV, 80, tag, 9000);
    frame.flv_type = 9;
    OK(se_publisher_push_frame_ref(publisher, &frame, free, tag));
    OK(se_publisher_push_flv_tag(publisher, 8, 80, (const uint8_t *)"\xaf\x01x", 3));
    EXPECT(SE_E_INVALID_ARGUMENT, se_publisher_push_flv_tag(publisher, 7, 80, tag, 1));
}

static void push_file(se_publisher *publisher, const char *path)
{
    uint8_t bytes[4096];
    size_t len, at, piece = 1, left = 60000;
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    while (left > 0 && (len = fread(bytes, 1, sizeof bytes, file)) > 0) {
        len = len < left ? len : left;
        left -= len;
        for (at = 0; at < len; at += piece, piece = piece * 7 % 997) {
            size_t rest = len - at < piece ? len - at : piece;
            OK(se_publisher_push_flv(publisher, bytes + at, rest));
        }
    }
    fclose(file);
}

/* ---- reading ---- */

struct reader {
    se_subscriber *subscriber;
    int frames;
};

static void *read_to_the_end(void *user_data)
{
    struct reader *reader = user_data;
    se_frame_ref *frame, *again;
    se_status status;
    while ((status = se_subscriber_next(reader->subscriber, -1, &frame)) == SE_OK) {
        CHECK((again = se_frame_ref_clone(frame)) != NULL);
        se_frame_ref_free(frame);
        sum(se_frame_ref_get(again)->flv_body, se_frame_ref_get(again)->flv_body_len);
        se_frame_ref_free(again);
        tell(&reader->frames);
    }
    CHECK(status == SE_E_CLOSED && se_last_error()[0] != '\0');
    return NULL;
}

/* ---- one engine with everything, and another one that it relays to ---- */

static void look_around(se_engine *engine, se_id relay)
{
    se_engine_stats engine_stats;
    se_stream_stats stream_stats;
    se_relay_status relay_status;
    char *texts[8];
    int number;

    engine_stats.struct_size = sizeof engine_stats;
    OK(se_engine_get_stats(engine, &engine_stats));
    CHECK(engine_stats.panics == 0 && engine_stats.streams_live >= 1);
    stream_stats.struct_size = sizeof stream_stats;
    OK(se_stream_get_stats(engine, "live/a", &stream_stats));
    CHECK(stream_stats.video_frames > 0 && stream_stats.subscribers >= 2);
    EXPECT(SE_E_NOT_FOUND, se_stream_get_stats(engine, "live/none", &stream_stats));
    relay_status.struct_size = sizeof relay_status;
    OK(se_relay_get_status(engine, relay, &relay_status));
    CHECK(strcmp(relay_status.stream, "live/a") == 0);
    EXPECT(SE_E_NOT_FOUND, se_relay_get_status(engine, 0, &relay_status));
    texts[0] = se_stats_json(engine, 0);
    texts[1] = se_streams_json(engine);
    texts[2] = se_sessions_json(engine, NULL);
    texts[3] = se_sessions_json(engine, "live/a");
    texts[4] = se_relays_json(engine);
    texts[5] = se_files_json(engine);
    texts[6] = se_snapshot_json(engine);
    texts[7] = se_history_json(engine, NULL);
    CHECK(se_history_json(engine, "live/none") == NULL && se_last_status() == SE_E_NOT_FOUND);
    for (number = 0; number < 8; number++) {
        CHECK(texts[number] != NULL && strchr("[{", texts[number][0]) != NULL);
        se_string_free(texts[number]);
    }
}

/* Waits for a relay's state with the descriptor, as an event loop does. */
static void wait_for_relay(se_engine *engine, se_id relay, const char *state)
{
    struct pollfd readable;
    se_event_ref *event;
    int found = 0;
    readable.fd = se_engine_event_fd(engine);
    readable.events = POLLIN;
    CHECK(readable.fd >= 0);
    while (!found) {
        CHECK(poll(&readable, 1, 60000) == 1);
        while (se_engine_next_event(engine, 0, &event) == SE_OK) {
            const se_event *is = se_event_ref_get(event);
            found |= is->type == SE_EVENT_RELAY_STATE && is->id == relay && strstr(is->message, state) != NULL;
            se_event_ref_free(event);
        }
    }
}

/* Serves, publishes, reads, relays, loops a file, and asks for leave; then ends it all, in one of two orders. */
static void tune(se_engine *engine, se_id push, se_id pull)
{
    se_config *options = se_config_new();
    OK(se_config_set(options, "max_retries", "3"));
    OK(se_relay_tune(engine, push, options));
    OK(se_relay_tune(engine, push, NULL));
    EXPECT(SE_E_STATE, se_relay_tune(engine, pull, options));
    EXPECT(SE_E_NOT_FOUND, se_relay_tune(engine, pull + 1000, options));
    OK(se_config_set(options, "on_refusal", "fail"));
    EXPECT(SE_E_INVALID_ARGUMENT, se_relay_tune(engine, push, options));
    se_config_free(options);
}

/* Other settings while it runs: what is different is told, what is wrong changes nothing. */
static void reload(se_engine *engine)
{
    se_config *config = se_config_new();
    char *told;
    OK(se_config_set(config, "limits.ring_ms", "20000"));
    OK(se_config_set(config, "rtmp.listen", "127.0.0.1:0"));
    CHECK((told = se_engine_reload(engine, config)) != NULL);
    CHECK(strstr(told, "\"limits.ring_ms\"") != NULL && strstr(told, "\"127.0.0.1:0\"") != NULL);
    se_string_free(told);
    CHECK((told = se_engine_reload(engine, config)) != NULL && strstr(told, "[]") != NULL);
    se_string_free(told);
    OK(se_config_set(config, "rtmps.cert", "/no/cert.pem"));
    OK(se_config_set(config, "rtmps.key", "/no/key.pem"));
    CHECK(se_engine_reload(engine, config) == NULL && se_last_status() == SE_E_NOT_FOUND);
    CHECK(se_engine_reload(NULL, config) == NULL && se_last_status() == SE_E_INVALID_ARGUMENT);
    se_config_free(config);
    CHECK((told = se_engine_reload(engine, NULL)) != NULL && strstr(told, "removed") != NULL);
    se_string_free(told);
}

static void everything(const char *path, int engine_first)
{
    static struct counter events, auth, frames, released;
    struct reader reader = {NULL, 0}, copied = {NULL, 0};
    pthread_t reading, copying;
    se_config *options = se_config_new();
    se_engine *engine, *other;
    se_publisher *publisher, *second;
    se_subscriber *called, *never;
    se_frame_ref *none;
    se_id listener, relay, denied, pull, file;
    uint16_t port;
    char url[80], *built_as = se_build_info_json();
    int has_http;

    memset(&events, 0, sizeof events), memset(&auth, 0, sizeof auth);
    memset(&frames, 0, sizeof frames), memset(&released, 0, sizeof released);
    OK(se_engine_new(NULL, &engine));
    OK(se_engine_new(NULL, &other));
    OK(se_engine_set_event_callback(other, on_event, &events, destroy));
    OK(se_engine_set_auth_callback(other, on_auth, &auth, destroy));
    EXPECT(SE_E_STATE, se_publisher_open(engine, "live/a", NULL, &publisher));
    OK(se_engine_start(engine));
    OK(se_engine_start(other));
    EXPECT(SE_E_STATE, se_engine_start(other));
    reload(engine);
    OK(se_listen_rtmp(other, "127.0.0.1:0", &listener, &port));
    EXPECT(SE_E_INVALID_ARGUMENT, se_listen_rtmp(other, "nowhere", NULL, NULL));
    EXPECT(SE_E_NOT_FOUND, se_listen_rtmps(other, "127.0.0.1:0", "/no/cert", "/no/key", NULL, NULL));
    has_http = built_as != NULL && strstr(built_as, "\"http\":true") != NULL;
    se_string_free(built_as);
    EXPECT(has_http ? SE_OK : SE_E_UNSUPPORTED, se_listen_http(other, "127.0.0.1:0", NULL, NULL, NULL, NULL));
    EXPECT(has_http ? SE_E_NOT_FOUND : SE_E_UNSUPPORTED,
           se_listen_http(other, "127.0.0.1:0", "/no/cert", "/no/key", NULL, NULL));

    OK(se_publisher_open(engine, "live/a", NULL, &publisher));
    EXPECT(SE_E_EXISTS, se_publisher_open(engine, "live/a", NULL, &second));
    OK(se_config_set(options, "wait_for_publisher_ms", "5000"));
    OK(se_subscriber_open(engine, "live/a", options, &reader.subscriber));
    OK(se_subscriber_open(engine, "live/a", NULL, &called));
    OK(se_subscriber_open(engine, "live/nobody", NULL, &never));
    EXPECT(SE_E_INVALID_ARGUMENT, se_publisher_open(engine, "live/b", options, &second));
    se_config_free(options);
    frames.engine = engine;
    OK(se_subscriber_set_callback(called, on_frame, &frames, destroy));
    EXPECT(SE_E_STATE, se_subscriber_set_callback(called, on_frame, &released, destroy));
    CHECK(released.destroyed == 1);
    EXPECT(SE_E_AGAIN, se_subscriber_next(never, 0, &none));
    EXPECT(SE_E_TIMEOUT, se_subscriber_next(never, 1, &none));
    CHECK(pthread_create(&reading, NULL, read_to_the_end, &reader) == 0);

    snprintf(url, sizeof url, "rtmp://127.0.0.1:%u/live/later", (unsigned)port);
    OK(se_relay_add_push(engine, "live/a", url, NULL, &relay));
    snprintf(url, sizeof url, "rtmp://127.0.0.1:%u/live/denied", (unsigned)port);
    OK(se_relay_add_push(engine, "live/a", url, NULL, &denied));
    OK(se_subscriber_open(other, "live/later", NULL, &copied.subscriber));
    CHECK(pthread_create(&copying, NULL, read_to_the_end, &copied) == 0);
    push_frames(publisher, &released);
    push_file(publisher, path);
    wait_for_relay(engine, relay, "publishing");
    look_around(engine, relay);
    snprintf(url, sizeof url, "rtmp://127.0.0.1:%u/live/later", (unsigned)port);
    OK(se_relay_add_pull(engine, url, "live/back", NULL, &pull));
    OK(se_file_publish(engine, path, "live/file", -1, NULL, &file));
    tune(engine, denied, pull);
    OK(se_relay_restart(engine, denied));
    OK(se_relay_remove(engine, denied));
    EXPECT(SE_E_NOT_FOUND, se_relay_remove(engine, denied));
    OK(se_file_replace(engine, file, path, 2, NULL, &file));
    EXPECT(SE_E_NOT_FOUND, se_file_replace(engine, file + 1000, path, -1, NULL, NULL));
    OK(se_file_stop(engine, file));
    wait_for(&frames.keyframes, 2);
    wait_for(&auth.calls, 2);
    wait_for(&events.calls, 3);
    wait_for(&reader.frames, 1);
    wait_for(&copied.frames, 1);

    if (engine_first) {
        se_engine_free(engine);
        EXPECT(SE_E_CLOSED, se_publisher_push_flv_tag(publisher, 9, 0, picture, sizeof picture));
        EXPECT(SE_E_CLOSED, se_subscriber_next(never, -1, &none));
        CHECK(pthread_join(reading, NULL) == 0);
        se_subscriber_free(reader.subscriber);
    } else {
        /* Wakes the reader. */
        se_subscriber_free(reader.subscriber);
        CHECK(pthread_join(reading, NULL) == 0);
        OK(se_kick(engine, 0, "live/a", SE_KICK_PUBLISHER | SE_KICK_PLAYERS, "enough"));
        wait_for(&frames.ends, 1);
        EXPECT(SE_E_CLOSED, se_publisher_push_flv_tag(publisher, 9, 0, picture, sizeof picture));
        OK(se_relay_remove(engine, relay));
        OK(se_relay_remove(engine, pull));
    }
    se_publisher_free(publisher);
    se_subscriber_free(called);
    se_subscriber_free(never);
    if (!engine_first)
        OK(se_engine_stop(engine, 2000));
    if (!engine_first)
        se_engine_free(engine);
    OK(se_listener_close(other, listener));
    EXPECT(SE_E_NOT_FOUND, se_listener_close(other, listener));
    se_engine_free(other);
    CHECK(pthread_join(copying, NULL) == 0);
    se_subscriber_free(copied.subscriber);
    CHECK(sum(se_frame_ref_get(frames.kept)->flv_body, se_frame_ref_get(frames.kept)->flv_body_len) > 0);
    se_frame_ref_free(frames.kept);
    CHECK(events.destroyed == 1 && auth.destroyed == 1 && frames.destroyed == 1);
}

int main(int argc, char **argv)
{
    static struct counter log;
    CHECK(argc == 2);
    OK(se_log_set_callback(SE_LOG_DEBUG, on_log, &log, destroy));
    OK(se_log_set_filter("info,streamengine=debug"));
    facts();
    settings();
    no_handles();
    everything(argv[1], 0);
    everything(argv[1], 1);
    wait_for(&log.calls, 1);
    OK(se_log_set_callback(SE_LOG_OFF, NULL, NULL, NULL));
    wait_for(&log.destroyed, 1);
    puts("all done");
    return 0;
}
