/* Frees handles while other threads are in calls with them, a thousand times: each call succeeds or says that it came too
   late. usage: freed [ROUNDS] */
#include "check.h"
#include <pthread.h>
#include <stdatomic.h>

#define THREADS 4

struct round {
  se_engine *engine;
  se_publisher *publisher;
  se_subscriber *subscriber;
  se_frame_ref *frame;
  atomic_int calls;
};

static void is_late(se_status status) {
  CHECK(status == SE_OK || status == SE_E_CLOSED || status == SE_E_STATE || status == SE_E_AGAIN || status == SE_E_NOT_FOUND);
}

static void *call(void *argument) {
  static const uint8_t keyframe[] = {0x17, 1, 0, 0, 0, 1};
  struct round *round = argument;
  se_status pushed = SE_OK;
  /* Until all of them are gone, and once more. */
  while (pushed == SE_OK) {
    se_frame_ref *frame;
    struct se_engine_stats stats;
    se_status status;
    pushed = se_publisher_push_flv_tag(round->publisher, 9, 0, keyframe, sizeof keyframe);
    is_late(pushed);
    status = se_subscriber_next(round->subscriber, 0, &frame);
    is_late(status);
    if (status == SE_OK) se_frame_ref_free(frame);
    stats.struct_size = sizeof stats;
    is_late(se_engine_get_stats(round->engine, &stats));
    frame = se_frame_ref_clone(round->frame);
    if (frame) se_frame_ref_free(frame);
    else CHECK(se_last_status() == SE_E_CLOSED);
    atomic_fetch_add(&round->calls, 1);
  }
  return NULL;
}

static void *end(void *argument) {
  struct round *round = argument;
  se_frame_ref_free(round->frame);
  se_subscriber_free(round->subscriber);
  se_engine_free(round->engine);
  se_publisher_free(round->publisher);
  return NULL;
}

int main(int argc, char **argv) {
  static const uint8_t keyframe[] = {0x17, 1, 0, 0, 0, 1};
  int number, thread, rounds = argc > 1 && atoi(argv[1]) > 0 ? atoi(argv[1]) : 1000;
  for (number = 0; number < rounds; number++) {
    struct round round = {0};
    pthread_t threads[THREADS + 2];
    round.engine = started("engine.io_threads", "1");
    OK(se_publisher_open(round.engine, "live/a", NULL, &round.publisher));
    OK(se_subscriber_open(round.engine, "live/a", NULL, &round.subscriber));
    OK(se_publisher_push_flv_tag(round.publisher, 9, 0, keyframe, sizeof keyframe));
    OK(se_subscriber_next(round.subscriber, -1, &round.frame));
    for (thread = 0; thread < THREADS; thread++) CHECK(pthread_create(&threads[thread], NULL, call, &round) == 0);
    while (atomic_load(&round.calls) < THREADS) {}
    /* By two threads: each handle twice. */
    for (; thread < THREADS + 2; thread++) CHECK(pthread_create(&threads[thread], NULL, end, &round) == 0);
    for (thread = 0; thread < THREADS + 2; thread++) CHECK(pthread_join(threads[thread], NULL) == 0);
  }
  puts("done");
  return 0;
}
