/* Engines, configurations, listeners, the log, and what errors say. */
#include "check.h"
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static int destroyed;

static void destroy(void *user_data) {
  CHECK(user_data == &destroyed);
  destroyed++;
}

static void ignore_event(const se_event *event, void *user_data) {
  CHECK(event->struct_size == sizeof *event);
  CHECK(user_data == &destroyed);
}

static void configurations(void) {
  se_config *config = se_config_new();
  char *json;
  OK(se_config_set(config, "limits.ring_ms", "5000"));
  OK(se_config_set(config, "publish.key", "hunter2"));
  OK(se_config_load_json(config, "{\"apps\": {\"live\": {\"takeover\": \"reject\"}}, \"engine\": {\"io_threads\": 1}}"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_config_set(config, "limits.rign_ms", "5000"));
  CHECK(SAYS("limits.rign_ms") && SAYS("ring_ms"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_config_set(config, "limits.ring_ms", "\xff"));
  CHECK(SAYS("UTF-8"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_config_load_json(config, "{\"limits\": {\"ring_ms\": 1}, \"limit\": {}}"));
  json = se_config_dump_json(config);
  CHECK(json && strstr(json, "\"ring_ms\":5000") && strstr(json, "\"takeover\":\"reject\""));
  CHECK(strstr(json, "\"key\":\"***\"") && !strstr(json, "hunter2"));
  se_string_free(json);
  OK(se_config_set(config, "publish.open", "true"));
  {
    se_engine *engine = NULL;
    EXPECT(SE_E_INVALID_ARGUMENT, se_engine_new(config, &engine));
    CHECK(SAYS("exclude") && engine == NULL);
  }
  se_config_free(config);
  se_config_free(NULL);
}

static void states(void) {
  se_engine *engine = NULL;
  se_event_ref *event = NULL;
  struct se_engine_stats stats;
  OK(se_engine_new(NULL, &engine));
  EXPECT(SE_E_STATE, se_listen_rtmp(engine, "127.0.0.1:0", NULL, NULL));
  CHECK(SAYS("se_engine_start"));
  EXPECT(SE_E_STATE, se_engine_stop(engine, 0));
  EXPECT(SE_E_AGAIN, se_engine_next_event(engine, 0, &event));
  EXPECT(SE_E_TIMEOUT, se_engine_next_event(engine, 1, &event));
  OK(se_engine_start(engine));
  EXPECT(SE_E_STATE, se_engine_start(engine));
  memset(&stats, 0xee, sizeof stats);
  stats.struct_size = offsetof(struct se_engine_stats, connections);
  OK(se_engine_get_stats(engine, &stats));
  CHECK(stats.connections_accepted == 0 && stats.connections == 0xeeeeeeeeeeeeeeeeu);
  stats.struct_size = 0;
  EXPECT(SE_E_INVALID_ARGUMENT, se_engine_get_stats(engine, &stats));
  OK(se_engine_stop(engine, 1000));
  EXPECT(SE_E_STATE, se_engine_get_stats(engine, &stats));
  OK(se_engine_start(engine));
  se_engine_free(engine);
  se_engine_free(NULL);
}

static void listeners(const char *folder) {
  se_engine *engine = started(NULL, NULL), *other = NULL;
  se_config *config = se_config_new();
  se_id first = 0, second = 0;
  uint16_t port = 0, tls_port = 0;
  char address[64], cert[512], key[512], pem[8192];
  se_event_ref *event;
  FILE *file;
  size_t length;
  OK(se_listen_rtmp(engine, "127.0.0.1:0", &first, &port));
  CHECK(first != 0 && port != 0);
  snprintf(address, sizeof address, "127.0.0.1:%d", port);
  EXPECT(SE_E_ADDRESS_IN_USE, se_listen_rtmp(engine, address, NULL, NULL));
  CHECK(SAYS("listen rtmp on ") && SAYS(address) && SAYS("in use"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_listen_rtmp(engine, "nowhere", NULL, NULL));
  CHECK(SAYS("nowhere"));
  event = await(engine, SE_EVENT_LISTENER_OPENED);
  CHECK(se_event_ref_get(event)->id == first && !strcmp(se_event_ref_get(event)->peer, address));
  CHECK(strstr(se_event_ref_get(event)->json, "\"event\":\"listener-opened\"") && se_event_ref_get(event)->time_us > 0);
  se_event_ref_free(event);

  /* A configuration that names an address that is taken does not start. */
  OK(se_config_set(config, "rtmp.listen", address));
  OK(se_engine_new(config, &other));
  EXPECT(SE_E_ADDRESS_IN_USE, se_engine_start(other));
  CHECK(SAYS(address));
  se_engine_free(other);
  se_config_free(config);

  snprintf(cert, sizeof cert, "%s/cert.pem", folder);
  snprintf(key, sizeof key, "%s/key.pem", folder);
  OK(se_listen_rtmps(engine, "127.0.0.1:0", cert, key, &second, &tls_port));
  CHECK(second > first && tls_port != 0);
  EXPECT(SE_E_NOT_FOUND, se_listen_rtmps(engine, "127.0.0.1:0", "none.pem", key, NULL, NULL));
  CHECK(SAYS("none.pem"));
  EXPECT(SE_E_FORMAT, se_listen_rtmps(engine, "127.0.0.1:0", key, key, NULL, NULL));
  file = fopen(cert, "r");
  CHECK(file != NULL);
  length = fread(pem, 1, sizeof pem - 1, file);
  pem[length] = 0;
  fclose(file);
  OK(se_listener_reload_tls(engine, second, NULL, NULL));
  OK(se_listener_reload_tls(engine, second, pem, key));
  EXPECT(SE_E_FORMAT, se_listener_reload_tls(engine, second, "-----BEGIN", key));
  EXPECT(SE_E_INVALID_ARGUMENT, se_listener_reload_tls(engine, second, pem, NULL));
  EXPECT(SE_E_STATE, se_listener_reload_tls(engine, first, pem, key));

  OK(se_listener_close(engine, first));
  EXPECT(SE_E_NOT_FOUND, se_listener_close(engine, first));
  event = await(engine, SE_EVENT_LISTENER_CLOSED);
  CHECK(se_event_ref_get(event)->id == first);
  se_event_ref_free(event);
  /* The other one goes with the engine. An id is never used again, also after a restart. */
  OK(se_engine_stop(engine, 1000));
  event = await(engine, SE_EVENT_LISTENER_CLOSED);
  CHECK(se_event_ref_get(event)->id == second);
  se_event_ref_free(event);
  OK(se_engine_start(engine));
  OK(se_listen_rtmp(engine, address, &first, NULL));
  CHECK(first > second);
  se_engine_free(engine);
}

/* Readable while there are events. */
static void descriptor(void) {
  se_engine *engine = started(NULL, NULL);
  struct pollfd poll_fd;
  se_event_ref *event;
  poll_fd.fd = se_engine_event_fd(engine);
  poll_fd.events = POLLIN;
  CHECK(poll_fd.fd >= 0 && se_engine_event_fd(engine) == poll_fd.fd);
  CHECK(poll(&poll_fd, 1, 0) == 0);
  OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, NULL));
  CHECK(poll(&poll_fd, 1, 20000) == 1);
  OK(se_engine_next_event(engine, 0, &event));
  CHECK(poll(&poll_fd, 1, 0) == 0);
  /* An event outlives its engine. */
  se_engine_free(engine);
  CHECK(se_event_ref_get(event)->type == SE_EVENT_LISTENER_OPENED);
  se_event_ref_free(event);
}

/* User data is given back once on every path. */
static void user_data(void) {
  se_engine *engine = NULL;
  se_event_ref *event;
  OK(se_engine_new(NULL, &engine));
  EXPECT(SE_E_INVALID_ARGUMENT, se_engine_set_event_callback(NULL, ignore_event, &destroyed, destroy));
  CHECK(destroyed == 1);
  OK(se_engine_set_event_callback(engine, NULL, &destroyed, destroy));
  CHECK(destroyed == 2);
  OK(se_engine_set_event_callback(engine, ignore_event, &destroyed, destroy));
  EXPECT(SE_E_STATE, se_engine_next_event(engine, 0, &event));
  OK(se_engine_set_event_callback(engine, ignore_event, &destroyed, destroy));
  OK(se_engine_set_auth_callback(engine, NULL, &destroyed, destroy));
  se_engine_free(engine);
  CHECK(destroyed == 5);
  EXPECT(SE_E_INVALID_ARGUMENT, se_log_set_callback(77, NULL, &destroyed, destroy));
  CHECK(destroyed == 6);
}

static int lines;

static void count_line(const se_log_record *record, void *user_data) {
  CHECK(user_data == &lines && record->struct_size == sizeof *record && record->time_us > 0);
  CHECK(record->level == SE_LOG_INFO || record->level == SE_LOG_WARN || record->level == SE_LOG_ERROR);
  CHECK(*record->target && *record->message && !strchr(record->message, '\n'));
  lines++;
}

static void logging(const char *file) {
  se_engine *engine;
  EXPECT(SE_E_INVALID_ARGUMENT, se_log_set_filter("inof"));
  OK(se_log_set_callback(SE_LOG_INFO, count_line, &lines, NULL));
  engine = started(NULL, NULL);
  OK(se_file_publish(engine, file, "live/a", -1, NULL, NULL));
  OK(se_log_set_callback(SE_LOG_OFF, NULL, NULL, NULL));
  CHECK(lines > 0);
  se_engine_free(engine);
}

/* The host's signals are its own: nothing is installed, and a peer that resets its connection kills nobody. */
static void signals(void) {
  struct sigaction action;
  struct sockaddr_in to;
  struct linger at_once;
  se_engine *engine = started(NULL, NULL);
  uint16_t port;
  int i;
  OK(se_listen_rtmp(engine, "127.0.0.1:0", NULL, &port));
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  at_once.l_onoff = 1;
  at_once.l_linger = 0;
  for (i = 0; i < 50; i++) {
    static const char hello[1537] = {3};
    int connection = socket(AF_INET, SOCK_STREAM, 0);
    se_event_ref *event;
    CHECK(connect(connection, (struct sockaddr *)&to, sizeof to) == 0);
    CHECK(write(connection, hello, sizeof hello) == (ssize_t)sizeof hello);
    setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(connection);
    event = await(engine, SE_EVENT_SESSION_CLOSED);
    se_event_ref_free(event);
  }
  CHECK(sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
  se_engine_free(engine);
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  CHECK(se_version_number() == SE_VERSION_NUMBER && SE_CHECK_VERSION(0, 1, 0));
  CHECK(!strcmp(se_status_name(SE_E_ADDRESS_IN_USE), "SE_E_ADDRESS_IN_USE"));
  CHECK(!strcmp(se_codec_name(SE_CODEC_H264), "H.264") && !strcmp(se_codec_name(4711), "unknown"));
  CHECK(*se_last_error() == 0);
  configurations();
  states();
  listeners(argv[2]);
  descriptor();
  user_data();
  logging(argv[1]);
  signals();
  puts("done");
  return 0;
}
