/*
 * Plays an FLV file again and again to players over HTTP, and prints who comes by which door, until Ctrl-C.
 *
 *     serve_http FILE.flv [ADDRESS [CERT KEY]]  default 127.0.0.1:8080; with certificate and key (PEM) over HTTPS
 *
 * Play with `ffplay http://127.0.0.1:8080/live/loop.flv`; players in pages take that URL, or the same with `ws://`.
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"

static const char *door_name(int32_t door) {
    switch (door) {
        case SE_DOOR_RTMP: return "RTMP";
        case SE_DOOR_HTTP_FLV:
        case SE_DOOR_HTTP_MP4: return "HTTP";
        case SE_DOOR_HLS: return "HLS";
        case SE_DOOR_WEBSOCKET: return "WebSocket";
        default: return "another door";
    }
}

/* Runs on the engine's callback thread. Whom a page asks for is told too: a site may want its own pages only. */
static int32_t on_request(se_auth_request *request, void *user_data) {
    se_auth_info info;
    (void)user_data;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (se_auth_request_get(request, &info) != SE_OK || info.action != SE_AUTH_PLAY) {
        return SE_AUTH_DENY;
    }
    printf("%s asks for %s by %s, on a page of %s\n", info.peer, info.stream, door_name(info.door),
           *info.origin ? info.origin : "no site");
    return SE_AUTH_ALLOW;
}

int main(int argc, char **argv) {
    const char *address = argc > 2 ? argv[2] : "127.0.0.1:8080";
    const char *cert = argc > 4 ? argv[3] : NULL, *key = argc > 4 ? argv[4] : NULL;
    se_engine *engine = NULL;
    se_event_ref *event = NULL;
    uint16_t port = 0;

    if (argc < 2 || argc == 4) {
        fprintf(stderr, "usage: serve_http FILE.flv [ADDRESS [CERT KEY]]\n");
        return 2;
    }
    begin();
    must(se_engine_new(NULL, &engine));
    must(se_engine_set_auth_callback(engine, on_request, NULL, NULL));
    must(se_engine_start(engine));
    must(se_file_publish(engine, argv[1], "live/loop", -1, NULL, NULL));
    must(se_listen_http(engine, address, cert, key, NULL, &port));
    printf("serving at port %u\n", (unsigned)port);
    while (!interrupted) {
        if (se_engine_next_event(engine, 200, &event) == SE_OK) {
            const se_event *what = se_event_ref_get(event);
            if (what->type == SE_EVENT_PLAY_STARTED || what->type == SE_EVENT_PLAY_ENDED) {
                puts(what->json);
            }
            se_event_ref_free(event);
        }
    }
    if (se_engine_stop(engine, 2000) != SE_OK) { /* players get the end of the stream */
        fprintf(stderr, "%s\n", se_last_error());
    }
    se_engine_free(engine);
    return 0;
}
