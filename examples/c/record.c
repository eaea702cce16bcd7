/*
 * Fetches a stream from a server and writes it into an FLV file, until it ends or Ctrl-C.
 *
 *     record URL FILE.flv
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"

static void put_be(uint8_t *to, uint32_t value, int bytes) {
    while (bytes-- > 0) {
        to[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static void put(FILE *file, const void *bytes, size_t count) {
    if (fwrite(bytes, 1, count, file) != count) {
        perror("write");
        exit(1);
    }
}

/* One tag: type, size, time, body, size of the whole. The body is the message as it was published. */
static void put_tag(FILE *file, const se_frame *frame, uint32_t ms) {
    uint8_t head[11] = {0}, tail[4];
    head[0] = (uint8_t)frame->flv_type;
    put_be(head + 1, (uint32_t)frame->flv_body_len, 3);
    put_be(head + 4, ms, 3);
    head[7] = (uint8_t)(ms >> 24);
    put_be(tail, (uint32_t)frame->flv_body_len + 11, 4);
    put(file, head, sizeof head);
    put(file, frame->flv_body, frame->flv_body_len);
    put(file, tail, sizeof tail);
}

/* Writes frames until the stream ends; how many. */
static long record(se_subscriber *subscriber, FILE *file, se_engine *engine, se_id relay) {
    se_frame_ref *ref = NULL;
    int64_t start = SE_TIME_UNSET;
    long tags = 0;
    while (!interrupted) {
        se_status status = se_subscriber_next(subscriber, 200, &ref);
        if (status == SE_OK) {
            const se_frame *frame = se_frame_ref_get(ref);
            start = start == SE_TIME_UNSET ? frame->dts_ns : start;
            if (frame->flv_body_len > 0) { /* of the frames in one tag, the first has it */
                put_tag(file, frame, (uint32_t)((frame->dts_ns - start) / 1000000));
                tags++;
            }
            se_frame_ref_free(ref);
        } else if (status == SE_E_TIMEOUT) {
            /* Does the server refuse? */
            se_relay_status pull;
            memset(&pull, 0, sizeof pull);
            pull.struct_size = sizeof pull;
            must(se_relay_get_status(engine, relay, &pull));
            if (pull.state == SE_RELAY_FAILED) {
                fprintf(stderr, "%s: %s\n", se_status_name(pull.last_error), pull.last_error_text);
                break;
            }
        } else {
            printf("%s\n", se_last_error()); /* why the stream has ended */
            break;
        }
    }
    return tags;
}

int main(int argc, char **argv) {
    static const uint8_t header[13] = {'F', 'L', 'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0};
    se_engine *engine = NULL;
    se_config *options = se_config_new();
    se_subscriber *subscriber = NULL;
    se_id relay = 0;
    FILE *file;
    long tags;

    if (argc != 3) {
        fprintf(stderr, "usage: record URL FILE.flv\n");
        return 2;
    }
    begin();
    file = fopen(argv[2], "wb");
    if (!file) {
        perror(argv[2]);
        return 1;
    }
    put(file, header, sizeof header);

    must(se_engine_new(NULL, &engine));
    must(se_engine_start(engine));
    must(se_config_set(options, "on_refusal", "fail"));
    must(se_subscriber_open(engine, "in/stream", NULL, &subscriber));
    must(se_relay_add_pull(engine, argv[1], "in/stream", options, &relay));
    tags = record(subscriber, file, engine, relay);
    printf("recorded %ld tags\n", tags);

    se_subscriber_free(subscriber);
    se_engine_free(engine);
    se_config_free(options);
    if (fclose(file) != 0) {
        perror(argv[2]);
        return 1;
    }
    return tags > 0 ? 0 : 1;
}
