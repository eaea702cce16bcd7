/* What a child of fork() can do with what its parent has: it gets errors, and never hangs. */
#include "check.h"
#include <sys/wait.h>
#include <unistd.h>

static se_config *config;
static se_engine *engine;
static se_publisher *publisher;
static se_subscriber *subscriber, *called;
static se_frame_ref *frame;
static const uint8_t keyframe[] = {0x17, 1, 0, 0, 0, 1};

static void on_frame(const se_frame *shown, const se_frame_ref *reference, void *user_data) {
  (void)shown, (void)reference, (void)user_data;
}

static void on_log(const se_log_record *record, void *user_data) {
  (void)record, (void)user_data;
}

#define STAYS(call) do { EXPECT(SE_E_STATE, call); CHECK(SAYS("fork")); } while (0)

/* Everything of the parent's. */
static void ask_for_the_parents(void) {
  se_event_ref *event;
  se_frame_ref *next;
  se_id id;
  char *json;
  STAYS(se_engine_start(engine));
  STAYS(se_engine_next_event(engine, -1, &event));
  STAYS(se_listen_rtmp(engine, "127.0.0.1:0", NULL, NULL));
  STAYS(se_relay_add_push(engine, "live/a", "rtmp://127.0.0.1/live/b", NULL, &id));
  STAYS(se_publisher_push_flv_tag(publisher, 9, 0, keyframe, sizeof keyframe));
  STAYS(se_subscriber_next(subscriber, -1, &next));
  STAYS(se_engine_stop(engine, 60000));
  STAYS(se_log_set_callback(SE_LOG_TRACE, on_log, NULL, NULL));
  STAYS(se_log_set_filter("info"));
  json = se_streams_json(engine);
  CHECK(json == NULL && SAYS("fork"));
  CHECK(se_frame_ref_get(frame) == NULL && se_engine_event_fd(engine) == -1);
  se_frame_ref_free(frame);
  se_subscriber_free(subscriber);
  se_subscriber_free(called);
  se_publisher_free(publisher);
  se_engine_free(engine);
  CHECK(SAYS("engine") && SAYS("fork"));
}

/* An engine of the child's own, by a configuration of the parent's. */
static void have_an_engine(void) {
  se_engine *own;
  se_publisher *publishing;
  se_subscriber *reading;
  se_frame_ref *next;
  OK(se_config_set(config, "limits.ring_ms", "6000"));
  OK(se_engine_new(config, &own));
  se_config_free(config);
  EXPECT(SE_E_STATE, se_config_set(config, "limits.ring_ms", "6000"));
  OK(se_engine_start(own));
  OK(se_listen_rtmp(own, "127.0.0.1:0", NULL, NULL));
  OK(se_publisher_open(own, "live/a", NULL, &publishing));
  OK(se_subscriber_open(own, "live/a", NULL, &reading));
  OK(se_publisher_push_flv_tag(publishing, 9, 0, keyframe, sizeof keyframe));
  OK(se_subscriber_next(reading, -1, &next));
  se_engine_free(own);
  se_frame_ref_free(next);
  se_subscriber_free(reading);
  se_publisher_free(publishing);
}

static void in_a_child(void (*what)(void)) {
  int status = -1;
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    alarm(60);
    what();
    exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child);
  if (status != 0) fprintf(stderr, "the child ended with %d\n", status);
  CHECK(status == 0);
}

static void in_a_grandchild(void) {
  in_a_child(ask_for_the_parents);
  in_a_child(have_an_engine);
}

int main(void) {
  int round;
  config = se_config_new();
  /* A daemon that has read its configuration before it forks. */
  in_a_child(have_an_engine);
  OK(se_log_set_callback(SE_LOG_TRACE, on_log, NULL, NULL));
  OK(se_engine_new(config, &engine));
  OK(se_engine_start(engine));
  OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, NULL));
  OK(se_publisher_open(engine, "live/a", NULL, &publisher));
  OK(se_subscriber_open(engine, "live/a", NULL, &subscriber));
  OK(se_subscriber_open(engine, "live/a", NULL, &called));
  OK(se_subscriber_set_callback(called, on_frame, NULL, NULL));
  OK(se_publisher_push_flv_tag(publisher, 9, 0, keyframe, sizeof keyframe));
  OK(se_subscriber_next(subscriber, -1, &frame));
  /* At any moment of the threads that the child does not have. */
  for (round = 0; round < 20; round++) {
    OK(se_publisher_push_flv_tag(publisher, 9, 0, keyframe, sizeof keyframe));
    in_a_child(ask_for_the_parents);
    in_a_child(have_an_engine);
  }
  in_a_child(in_a_grandchild);
  /* The parent has lost nothing. */
  OK(se_publisher_push_flv_tag(publisher, 9, 0, keyframe, sizeof keyframe));
  se_frame_ref_free(frame);
  OK(se_subscriber_next(subscriber, -1, &frame));
  se_frame_ref_free(frame);
  se_subscriber_free(subscriber);
  se_subscriber_free(called);
  se_publisher_free(publisher);
  OK(se_engine_stop(engine, 0));
  se_engine_free(engine);
  se_config_free(config);
  OK(se_log_set_callback(SE_LOG_OFF, NULL, NULL, NULL));
  puts("done");
  return 0;
}
