/* Files, relays, events, authorisation, statistics and kicks: one engine pushes a looped file to another. */
#include "check.h"
#include <poll.h>
#include <pthread.h>

/* What the authorisation callback does with the next publisher. */
static int32_t verdict;
static int asked, destroyed;
static pthread_t worker;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int freed_inside, stopped_inside;

static void *answer_later(void *request) {
  se_auth_request_reply(request, 1, "the worker");
  return NULL;
}

static int32_t decide(se_auth_request *request, void *user_data) {
  se_auth_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  OK(se_auth_request_get(request, &info));
  CHECK(user_data == &asked);
  CHECK(!strcmp(info.stream, "in/b") && info.tls == 0 && info.action == SE_AUTH_PUBLISH);
  CHECK(!strcmp(info.query, "key=secret") && strstr(info.peer, "127.0.0.1:"));
  CHECK(strstr(info.tc_url, "rtmp://127.0.0.1:") && *info.agent && info.door == SE_DOOR_RTMP && !*info.origin);
  asked++;
  if (verdict == SE_AUTH_DEFER) CHECK(pthread_create(&worker, NULL, answer_later, request) == 0);
  return verdict;
}

static void count(void *user_data) {
  (*(int *)user_data)++;
}

static void tell(int *what) {
  pthread_mutex_lock(&lock);
  *what = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void wait_for(const int *what) {
  pthread_mutex_lock(&lock);
  while (!*what) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}

/* Frees its own engine, which must be refused (at the end another thread has freed it already), and calls what may be called,
   stopping the engine too. */
static void free_inside(const se_event *event, void *user_data) {
  se_engine *engine = user_data;
  char *json = se_build_info_json();
  CHECK(event->type != 0 && json != NULL && strstr(json, "H.264"));
  se_string_free(json);
  se_engine_free(engine);
  CHECK(SAYS("callback") || (stopped_inside && SAYS("it has been freed")));
  tell(&freed_inside);
  if (event->type == SE_EVENT_FILE_STATE && !stopped_inside) {
    OK(se_engine_stop(engine, 2000));
    tell(&stopped_inside);
  }
}

static se_relay_status relay_status(se_engine *engine, se_id relay) {
  se_relay_status status;
  memset(&status, 0, sizeof status);
  status.struct_size = sizeof status;
  OK(se_relay_get_status(engine, relay, &status));
  CHECK(status.id == relay);
  return status;
}

/* Waits until the relay has come to a state; how it stands then. */
static se_relay_status await_state(se_engine *engine, se_id relay, int32_t state) {
  se_relay_status status = relay_status(engine, relay);
  while (status.state != state) {
    se_event_ref_free(await(engine, SE_EVENT_RELAY_STATE));
    status = relay_status(engine, relay);
  }
  return status;
}

static void files(const char *file, const char *malformed) {
  se_engine *engine = started(NULL, NULL);
  se_file_status status;
  se_id job = 0;
  se_config *options = se_config_new();
  EXPECT(SE_E_NOT_FOUND, se_file_publish(engine, "none.flv", "live/a", -1, NULL, NULL));
  CHECK(SAYS("none.flv"));
  EXPECT(SE_E_FORMAT, se_file_publish(engine, malformed, "live/a", -1, NULL, NULL));
  CHECK(SAYS("byte"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_file_publish(engine, file, "live/a", 0, NULL, NULL));
  EXPECT(SE_E_INVALID_ARGUMENT, se_file_publish(engine, file, "../a", 1, NULL, NULL));
  OK(se_config_set(options, "linger_ms", "1"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_file_publish(engine, file, "live/a", 1, options, NULL));
  CHECK(SAYS("linger_ms"));
  se_config_free(options);
  OK(se_file_publish(engine, file, "live/a", -1, NULL, &job));
  EXPECT(SE_E_EXISTS, se_file_publish(engine, file, "live/a", -1, NULL, NULL));
  CHECK(SAYS("live/a"));
  memset(&status, 0, sizeof status);
  status.struct_size = sizeof status;
  OK(se_file_get_status(engine, job, &status));
  CHECK(status.state == SE_FILE_PLAYING && !strcmp(status.stream, "live/a"));
  OK(se_file_stop(engine, job));
  EXPECT(SE_E_NOT_FOUND, se_file_get_status(engine, job, &status));
  se_event_ref_free(await(engine, SE_EVENT_STREAM_ENDED));
  se_engine_free(engine);
}

static void relays(const char *file) {
  se_engine *server = started("apps.in.resume_window_ms", "60000"), *client = started(NULL, NULL);
  se_config *options = se_config_new();
  se_id relay = 0, session;
  uint16_t port;
  char url[128];
  se_relay_status status;
  se_stream_stats stream;
  se_engine_stats stats;
  se_event_ref *event;
  char *json;
  int is_told;
  OK(se_listen_rtmp(server, "127.0.0.1:0", NULL, &port));
  OK(se_engine_set_auth_callback(server, decide, &asked, NULL));
  OK(se_file_publish(client, file, "live/a", -1, NULL, NULL));
  snprintf(url, sizeof url, "rtmp://127.0.0.1:%d/in/b?key=secret", port);
  EXPECT(SE_E_INVALID_ARGUMENT, se_relay_add_push(client, "live/a", "http://h/a/b", NULL, NULL));
  CHECK(SAYS("url"));

  /* Refused for good. */
  verdict = SE_AUTH_DENY;
  OK(se_config_set(options, "on_refusal", "fail"));
  OK(se_relay_add_push(client, "live/a", url, options, &relay));
  status = await_state(client, relay, SE_RELAY_FAILED);
  CHECK(status.last_error == SE_E_REJECTED && strstr(status.last_error_text, "not authorised"));
  CHECK(!strstr(status.url, "secret") && status.direction == SE_RELAY_PUSH && asked == 1);
  event = await(server, SE_EVENT_REFUSED);
  CHECK(se_event_ref_get(event)->status == SE_E_AUTH && !strcmp(se_event_ref_get(event)->stream, "in/b"));
  se_event_ref_free(event);

  /* Let in by another thread, after a while. */
  verdict = SE_AUTH_DEFER;
  OK(se_relay_restart(client, relay));
  event = await(server, SE_EVENT_STREAM_STARTED);
  session = se_event_ref_get(event)->id;
  CHECK(session != 0 && !strcmp(se_event_ref_get(event)->stream, "in/b"));
  se_event_ref_free(event);
  CHECK(pthread_join(worker, NULL) == 0 && asked == 2);
  await_state(client, relay, SE_RELAY_PUBLISHING);
  json = se_relays_json(client);
  CHECK(json && strstr(json, "\"state\":\"publishing\"") && !strstr(json, "secret"));
  se_string_free(json);

  memset(&stream, 0, sizeof stream);
  stream.struct_size = sizeof stream;
  OK(se_stream_get_stats(server, "in/b", &stream));
  CHECK(stream.state == SE_STREAM_LIVE);
  EXPECT(SE_E_NOT_FOUND, se_stream_get_stats(server, "in/none", &stream));
  CHECK(SAYS("in/none"));
  memset(&stats, 0, sizeof stats);
  stats.struct_size = sizeof stats;
  OK(se_engine_get_stats(server, &stats));
  CHECK(stats.connections_accepted == 2 && stats.publishers == 1 && stats.streams_live == 1);
  CHECK(stats.bytes_in > 0 && stats.panics == 0 && stats.events_lost == 0);
  json = se_stats_json(server, 0);
  CHECK(json && strstr(json, "\"engine\":{\"uptime_ms\"") && strstr(json, "\"sessions\":[{") && strstr(json, "\"relays\":[]"));
  se_string_free(json);
  json = se_stats_json(server, SE_STATS_STREAMS);
  CHECK(json && strstr(json, "\"streams\":[{") && strstr(json, "\"key\":\"in/b\"") && !strstr(json, "sessions"));
  se_string_free(json);
  /* Both are of the newest second: it comes. */
  do {
    poll(NULL, 0, 50);
    CHECK((json = se_snapshot_json(server)) != NULL);
    is_told = strstr(json, "\"key\":\"in/b\"") && strstr(json, "\"problems\":[") && strstr(json, "\"bits_in\":");
    se_string_free(json);
  } while (!is_told);
  json = se_history_json(server, "in/b");
  CHECK(json && strstr(json, "[{\"at_s\":") == json && strstr(json, "\"silence_ms\":"));
  se_string_free(json);
  json = se_history_json(server, NULL);
  CHECK(json && strstr(json, "[{\"at_s\":") == json);
  se_string_free(json);
  CHECK(se_history_json(server, "in/none") == NULL && SAYS("in/none"));
  json = se_sessions_json(server, "in/none");
  CHECK(json && !strcmp(json, "[]"));
  se_string_free(json);

  /* Asked to connect anew: the pushing relay obeys, and its target takes it back. */
  verdict = SE_AUTH_ALLOW;
  OK(se_session_request_reconnect(server, session, NULL));
  se_event_ref_free(await(server, SE_EVENT_STREAM_ENDED));
  se_event_ref_free(await(server, SE_EVENT_STREAM_STARTED));

  /* Kicked: the publisher only, so that it may come back; then the stream. */
  verdict = SE_AUTH_ALLOW;
  EXPECT(SE_E_INVALID_ARGUMENT, se_kick(server, 0, "in/b", 0, NULL));
  EXPECT(SE_E_INVALID_ARGUMENT, se_kick(server, 1, "in/b", SE_KICK_PLAYERS, NULL));
  OK(se_kick(server, 0, "in/b", SE_KICK_PLAYERS, NULL));
  OK(se_kick(server, 0, "in/b", SE_KICK_PUBLISHER, "make room"));
  event = await(server, SE_EVENT_STREAM_ENDED);
  CHECK(strstr(se_event_ref_get(event)->message, "make room"));
  se_event_ref_free(event);
  EXPECT(SE_E_NOT_FOUND, se_kick(server, 0, "in/b", SE_KICK_PUBLISHER, NULL));
  OK(se_stream_get_stats(server, "in/b", &stream));
  CHECK(stream.state == SE_STREAM_AWAY);
  OK(se_relay_restart(client, relay));
  se_event_ref_free(await(server, SE_EVENT_STREAM_STARTED));
  OK(se_kick(server, 0, "in/b", SE_KICK_PUBLISHER | SE_KICK_PLAYERS, NULL));
  EXPECT(SE_E_NOT_FOUND, se_stream_get_stats(server, "in/b", &stream));

  OK(se_relay_remove(client, relay));
  EXPECT(SE_E_NOT_FOUND, se_relay_remove(client, relay));
  OK(se_config_set(options, "when", "watched"));
  snprintf(url, sizeof url, "rtmp://127.0.0.1:%d/in/none", port);
  OK(se_relay_add_pull(client, url, "live/b", options, &relay));
  CHECK(relay_status(client, relay).state == SE_RELAY_IDLE);
  se_config_free(options);
  se_engine_free(client);
  se_engine_free(server);
}

static void callbacks(const char *file) {
  se_engine *engine = started(NULL, NULL);
  OK(se_engine_set_event_callback(engine, free_inside, engine, NULL));
  OK(se_engine_set_auth_callback(engine, decide, &destroyed, count));
  OK(se_file_publish(engine, file, "live/a", 1, NULL, NULL));
  wait_for(&freed_inside);
  wait_for(&stopped_inside);
  EXPECT(SE_E_STATE, se_engine_stop(engine, 0));
  se_engine_free(engine);
  CHECK(destroyed == 1);
}

int main(int argc, char **argv) {
  char malformed[512];
  CHECK(argc == 3);
  snprintf(malformed, sizeof malformed, "%s/cert.pem", argv[2]);
  files(argv[1], malformed);
  relays(argv[1]);
  callbacks(argv[1]);
  puts("done");
  return 0;
}
