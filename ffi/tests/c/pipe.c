/* A host that leaves SIGPIPE at its default, which ends it, and serves and relays while peers reset their connections.
   Prints the port; ends when its input does. usage: pipe [TARGET-URL] */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <time.h>

static volatile int is_over;

static void *until_input_ends(void *nothing)
{
    while (getchar() != EOF)
        ;
    is_over = 1;
    return nothing;
}

int main(int argc, char **argv)
{
    /* Small, so that several of them go out at a time: one buffer alone is sent without the signal anyway. */
    static uint8_t keyframe[1000] = {0x17, 1};
    struct timespec pause = {0, 2000000};
    pthread_t waiting;
    sigset_t pipes;
    se_config *config;
    se_engine *engine;
    se_publisher *publisher;
    se_engine_stats stats;
    uint16_t port;
    uint32_t at, number;

    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &pipes, NULL) == 0);

    /* This many frames a second fall off the ring within a third of it: on a busy machine, players are behind all the
       time, and are not to be closed for that. */
    CHECK((config = se_config_new()) != NULL);
    OK(se_config_set(config, "limits.max_lags", "1000000"));
    OK(se_engine_new(config, &engine));
    se_config_free(config);
    OK(se_engine_start(engine));
    OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, &port));
    OK(se_publisher_open(engine, "live/a", NULL, &publisher));
    if (argc > 1)
        OK(se_relay_add_push(engine, "live/a", argv[1], NULL, NULL));
    printf("%u\n", (unsigned)port);
    fflush(stdout);
    CHECK(pthread_create(&waiting, NULL, until_input_ends, NULL) == 0);
    for (at = 0; !is_over; at += 2) {
        for (number = 0; number < 60; number++)
            OK(se_publisher_push_flv_tag(publisher, 9, at, keyframe, sizeof keyframe));
        nanosleep(&pause, NULL);
    }
    CHECK(pthread_join(waiting, NULL) == 0);
    stats.struct_size = sizeof stats;
    OK(se_engine_get_stats(engine, &stats));
    printf("accepted %lu, panics %lu\n", (unsigned long)stats.connections_accepted, (unsigned long)stats.panics);
    CHECK(stats.panics == 0);
    se_publisher_free(publisher);
    se_engine_free(engine);
    /* The host's own disposition and mask are as they were. */
    CHECK(signal(SIGPIPE, SIG_DFL) == SIG_DFL);
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &pipes) == 0 && sigismember(&pipes, SIGPIPE) == 0);
    return 0;
}
