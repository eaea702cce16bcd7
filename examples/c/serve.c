/*
 * Serves RTMP and prints what happens, until Ctrl-C.
 *
 *     serve [ADDRESS]                          default 127.0.0.1:1935; port 0 takes any free one
 *
 * Publish with `ffmpeg -re -i FILE -c copy -f flv rtmp://127.0.0.1/live/demo`, play with `ffplay` on the same URL.
 */
#define _GNU_SOURCE /* ppoll */
#include "example.h"
#include <poll.h>

/* Prints all events that wait. */
static void print_events(se_engine *engine) {
    se_event_ref *event = NULL;
    while (se_engine_next_event(engine, 0, &event) == SE_OK) {
        puts(se_event_ref_get(event)->json);
        se_event_ref_free(event);
    }
}

/* An event loop such as a GUI has: it sleeps until the engine has an event, or a signal comes. */
static void loop(se_engine *engine, const sigset_t *while_waiting) {
    struct pollfd events = {se_engine_event_fd(engine), POLLIN, 0};
    while (!interrupted) {
        if (ppoll(&events, 1, NULL, while_waiting) > 0) {
            print_events(engine);
        }
    }
}

int main(int argc, char **argv) {
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:1935";
    se_engine *engine = NULL;
    uint16_t port = 0;
    sigset_t signals, before;

    begin();
    /* Signals reach this thread only, and only while it waits: so none is missed between the test and the wait. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, &before);

    must(se_engine_new(NULL, &engine));
    must(se_engine_start(engine));
    must(se_listen_rtmp(engine, address, NULL, &port));
    printf("serving at port %u\n", (unsigned)port);
    loop(engine, &before);

    /* Publishers and players are told, for two seconds at most. */
    if (se_engine_stop(engine, 2000) != SE_OK) {
        fprintf(stderr, "%s\n", se_last_error());
    }
    print_events(engine);
    se_engine_free(engine);
    return 0;
}
