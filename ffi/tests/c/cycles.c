/* Makes, starts, uses, stops and frees engines, and counts what is left: descriptors, threads and memory.
   usage: cycles COUNT */
#include "check.h"
#include <dirent.h>
#include <string.h>
#include <time.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 33)
#include <malloc.h>
#define COUNTS_TO_THE_BYTE 1
#else
#define COUNTS_TO_THE_BYTE 0
#endif

static long entries(const char *folder)
{
    long count = 0;
    DIR *open = opendir(folder);
    CHECK(open != NULL);
    while (readdir(open) != NULL)
        count++;
    closedir(open);
    return count;
}

/* A thread that has been joined is listed for a moment still, so one that is counted too early may be one too many:
   the least of what is seen within so many looks. */
static long threads_now(long expected)
{
    struct timespec pause = {0, 10 * 1000 * 1000};
    long least = entries("/proc/self/task");
    int looks;
    for (looks = 0; looks < 1000 && least > expected; looks++) {
        long seen = entries("/proc/self/task");
        least = seen < least ? seen : least;
        nanosleep(&pause, NULL);
    }
    return least;
}

/* Memory that the program holds, in KiB: what is allocated, where the C library counts it; elsewhere what is resident,
   which moves by a megabyte or two with the allocator's arenas although nothing is lost. */
static long held(void)
{
#if COUNTS_TO_THE_BYTE
    struct mallinfo2 all = mallinfo2();
    return (long)((all.uordblks + all.hblkhd) / 1024);
#else
    char line[256];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "RssAnon:", 8) == 0)
            kib = strtol(line + 8, NULL, 10);
    fclose(status);
    return kib;
#endif
}

/* How much more than at the start may be held at the end, in KiB: the last engine's threads leave a little behind,
   whatever the number of engines before it. */
#define MORE_HELD (COUNTS_TO_THE_BYTE ? 64 : 4096)

static void count(void *counter)
{
    ++*(int *)counter;
}

static void on_event(const se_event *event, void *user_data)
{
    (void)event;
    (void)user_data;
}

static void on_frame(const se_frame *frame, const se_frame_ref *reference, void *user_data)
{
    (void)frame;
    (void)reference;
    (void)user_data;
}

static const uint8_t keyframe[2000] = {0x17, 1};

/* One life of an engine, with everything in it that has threads, sockets or callbacks. */
static void cycle(int number)
{
    se_engine *engine;
    se_publisher *publisher;
    se_subscriber *pulling, *called;
    se_frame_ref *frame;
    se_id listener, relay;
    uint16_t port = 0;
    char url[80];
    int destroyed = 0;

    OK(se_engine_new(NULL, &engine));
    OK(se_engine_set_event_callback(engine, on_event, &destroyed, count));
    OK(se_engine_start(engine));
    OK(se_listen_rtmp(engine, "127.0.0.1:0", &listener, &port));
    OK(se_publisher_open(engine, "live/a", NULL, &publisher));
    OK(se_subscriber_open(engine, "live/a", NULL, &pulling));
    OK(se_subscriber_open(engine, "live/a", NULL, &called));
    OK(se_subscriber_set_callback(called, on_frame, &destroyed, count));
    OK(se_publisher_push_flv_tag(publisher, 9, 0, keyframe, sizeof keyframe));
    OK(se_subscriber_next(pulling, -1, &frame));
    /* To itself: it connects, and is refused as a loop. */
    snprintf(url, sizeof url, "rtmp://127.0.0.1:%u/live/b", (unsigned)port);
    OK(se_relay_add_push(engine, "live/a", url, NULL, &relay));
    if (number % 2 == 0) {
        OK(se_engine_stop(engine, 1000));
        if (number % 4 == 0)
            OK(se_engine_start(engine));
    }
    /* In changing order. */
    if (number % 3 == 0)
        se_engine_free(engine);
    se_subscriber_free(pulling);
    se_publisher_free(publisher);
    se_subscriber_free(called);
    if (number % 3 != 0)
        se_engine_free(engine);
    se_frame_ref_free(frame);
    CHECK(destroyed == 2);
}

/* How often memory is compared: threads that end leave their caches at odd moments, which is over at the next time; what
   is lost in each cycle is lost every time. */
#define TRIES 4

int main(int argc, char **argv)
{
    long descriptors, threads, left, memory, now;
    int number, count_of = argc > 1 ? atoi(argv[1]) : 100, tries = 0;

    /* Before there is an engine. */
    threads = entries("/proc/self/task");
    /* What is made once, such as the threads' arenas of the C library, is made by then. */
    for (number = 0; number < count_of / 5 + 10; number++)
        cycle(number);
    descriptors = entries("/proc/self/fd");
    do {
        memory = held();
        for (number = 0; number < count_of; number++)
            cycle(number);
        printf("descriptors %ld, then %ld; threads %ld, then %ld; memory %ld KiB, then %ld KiB\n", descriptors,
               entries("/proc/self/fd"), threads, left = threads_now(threads), memory, now = held());
    } while (now > memory + MORE_HELD && ++tries < TRIES);
    CHECK(entries("/proc/self/fd") == descriptors);
    CHECK(left == threads);
    CHECK(now <= memory + MORE_HELD);
    return 0;
}
