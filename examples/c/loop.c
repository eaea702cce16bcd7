/*
 * Plays an FLV file again and again as a live stream, pushes it to two servers, and prints how they take it.
 *
 *     loop FILE URL URL [LOOPS]                default: until Ctrl-C
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"

static const char *state_name(int32_t state) {
    static const char *const names[] = {"idle",       "resolving", "connecting", "handshaking", "publishing",
                                        "playing",    "stalled",   "waiting",    "failed"};
    return state >= 0 && (size_t)state < sizeof names / sizeof *names ? names[state] : "?";
}

static void print_status(se_engine *engine, se_id relay) {
    se_relay_status status;
    memset(&status, 0, sizeof status);
    status.struct_size = sizeof status;
    must(se_relay_get_status(engine, relay, &status));
    printf("%s: %s, %llu frames, %llu bytes, %llu retries%s%s\n", status.url, state_name(status.state),
           (unsigned long long)status.frames, (unsigned long long)status.bytes_sent,
           (unsigned long long)status.retries, status.last_error == SE_OK ? "" : ", last error: ",
           status.last_error_text);
}

static int has_ended(se_engine *engine, se_id file) {
    se_file_status status;
    memset(&status, 0, sizeof status);
    status.struct_size = sizeof status;
    must(se_file_get_status(engine, file, &status));
    return status.state != SE_FILE_PLAYING;
}

int main(int argc, char **argv) {
    se_engine *engine = NULL;
    se_event_ref *event = NULL;
    se_id file = 0, relays[2] = {0, 0};
    int i;

    if (argc < 4) {
        fprintf(stderr, "usage: loop FILE URL URL [LOOPS]\n");
        return 2;
    }
    begin();
    must(se_engine_new(NULL, &engine));
    must(se_engine_start(engine));
    for (i = 0; i < 2; i++) {
        must(se_relay_add_push(engine, "live/loop", argv[2 + i], NULL, &relays[i]));
    }
    must(se_file_publish(engine, argv[1], "live/loop", argc > 4 ? atoi(argv[4]) : -1, NULL, &file));

    while (!interrupted && !has_ended(engine, file)) {
        /* What changes is told at once, and everything once a second. */
        se_status status = se_engine_next_event(engine, 1000, &event);
        if (status == SE_OK) {
            const se_event *what = se_event_ref_get(event);
            if (what->type == SE_EVENT_RELAY_STATE || what->type == SE_EVENT_FILE_STATE) {
                printf("%s: %s\n", what->peer, what->message);
            }
            se_event_ref_free(event);
        } else if (status == SE_E_TIMEOUT) {
            print_status(engine, relays[0]);
            print_status(engine, relays[1]);
        } else {
            must(status);
        }
    }
    print_status(engine, relays[0]);
    print_status(engine, relays[1]);
    if (se_engine_stop(engine, 2000) != SE_OK) { /* both targets get the end of the stream */
        fprintf(stderr, "%s\n", se_last_error());
    }
    se_engine_free(engine);
    return 0;
}
