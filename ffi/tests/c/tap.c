/* Serves, taps a stream by callback, and prints what each frame is with the FNV-1a hash of its payload.
   Prints the port first; ends with the stream. usage: tap STREAM */
#include "check.h"
#include <inttypes.h>
#include <stdatomic.h>

static atomic_int has_ended;

static uint64_t hash(const uint8_t *data, size_t len)
{
    uint64_t value = UINT64_C(0xcbf29ce484222325);
    while (len-- > 0)
        value = (value ^ *data++) * UINT64_C(0x100000001b3);
    return value;
}

static void on_frame(const se_frame *frame, const se_frame_ref *ref, void *user_data)
{
    CHECK((frame == NULL) == (ref == NULL));
    CHECK(user_data == &has_ended);
    if (frame == NULL) {
        printf("end %s\n", se_last_error());
        has_ended = 1;
        return;
    }
    CHECK(frame->struct_size >= sizeof *frame && frame->format == SE_FORMAT_NATIVE);
    if (frame->len == 0) {
        printf("empty %d\n", (int)frame->flv_type); /* the end of a sequence */
        return;
    }
    CHECK(frame->data >= frame->flv_body && frame->data + frame->len <= frame->flv_body + frame->flv_body_len);
    printf("%s %d %016" PRIx64 "\n", frame->flags & SE_FRAME_CONFIG ? "config" : "frame", (int)frame->flv_type,
           hash(frame->data, frame->len));
}

int main(int argc, char **argv)
{
    se_engine *engine;
    se_subscriber *subscriber;
    se_event_ref *event;
    uint16_t port;

    CHECK(argc == 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    OK(se_engine_new(NULL, &engine));
    OK(se_engine_start(engine));
    OK(se_subscriber_open(engine, argv[1], NULL, &subscriber));
    OK(se_subscriber_set_callback(subscriber, on_frame, &has_ended, NULL));
    OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, &port));
    printf("serving at port %u\n", (unsigned)port);
    while (!has_ended)
        if (se_engine_next_event(engine, 50, &event) == SE_OK)
            se_event_ref_free(event);
    se_subscriber_free(subscriber);
    se_engine_free(engine);
    return 0;
}
