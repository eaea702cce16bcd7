/* Players over HTTP: listeners, what is asked of the program about them, and what it is told. */
#include "check.h"
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the authorisation callback has seen of the latest request. */
static struct {
  int32_t action, door, tls;
  char stream[64], query[64], agent[64], page_url[64], origin[64];
} seen;

static int32_t decide(se_auth_request *request, void *user_data) {
  se_auth_info info;
  memset(&info, 0, sizeof info);
  info.struct_size = sizeof info;
  OK(se_auth_request_get(request, &info));
  CHECK(user_data == &seen && !*info.secret && !*info.tc_url);
  seen.action = info.action, seen.door = info.door, seen.tls = info.tls;
  snprintf(seen.stream, sizeof seen.stream, "%s", info.stream);
  snprintf(seen.query, sizeof seen.query, "%s", info.query);
  snprintf(seen.agent, sizeof seen.agent, "%s", info.agent);
  snprintf(seen.page_url, sizeof seen.page_url, "%s", info.page_url);
  snprintf(seen.origin, sizeof seen.origin, "%s", info.origin);
  return strcmp(info.query, "key=wrong") ? SE_AUTH_ALLOW : SE_AUTH_DENY;
}

/* A program that was compiled before there were doors. */
static int32_t decide_as_before(se_auth_request *request, void *user_data) {
  se_auth_info info;
  memset(&info, 0x5a, sizeof info);
  info.struct_size = offsetof(se_auth_info, door);
  OK(se_auth_request_get(request, &info));
  CHECK(user_data == &seen && info.action == SE_AUTH_PLAY);
  CHECK(info.door == 0x5a5a5a5a);
  return SE_AUTH_ALLOW;
}

/* Sends a request; its reply, up to the signature of FLV or to the end. The connection stays open in the first case. */
static int ask(uint16_t port, const char *request, char *reply, size_t size) {
  struct sockaddr_in to;
  size_t length = 0;
  int connection = socket(AF_INET, SOCK_STREAM, 0);
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(connect(connection, (struct sockaddr *)&to, sizeof to) == 0);
  CHECK(write(connection, request, strlen(request)) == (ssize_t)strlen(request));
  for (;;) {
    ssize_t got = read(connection, reply + length, size - 1 - length);
    size_t i;
    CHECK(got >= 0);
    length += (size_t)got;
    /* Frames hold zeros: they end no text here. */
    for (i = 0; i < length; i++)
      if (reply[i] == 0) reply[i] = '.';
    reply[length] = 0;
    if (got == 0 || strstr(reply, "FLV")) return connection;
    CHECK(length < size - 1);
  }
}

static void doors(const char *file) {
  static const struct {
    const char *upgrade, *status, *name;
    int32_t door;
  } ways[] = {
    {"", "HTTP/1.1 200", "http-flv", SE_DOOR_HTTP_FLV},
    {"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
     "HTTP/1.1 101", "websocket", SE_DOOR_WEBSOCKET},
  };
  se_engine *engine = started(NULL, NULL);
  se_id listener = 0;
  uint16_t port = 0;
  se_event_ref *event;
  char request[1024], reply[65536], told[64], *json;
  size_t i;
  int connection, has_player;
  OK(se_engine_set_auth_callback(engine, decide, &seen, NULL));
  OK(se_file_publish(engine, file, "live/a", -1, NULL, NULL));
  OK(se_listen_http(engine, "127.0.0.1:0", NULL, NULL, &listener, &port));
  CHECK(listener != 0 && port != 0);
  for (i = 0; i < sizeof ways / sizeof *ways; i++) {
    snprintf(request, sizeof request,
             "GET /live/a.flv?key=right HTTP/1.1\r\nHost: h\r\nUser-Agent: player/1\r\nOrigin: https://site.example\r\n"
             "Referer: https://site.example/page\r\n%s\r\n", ways[i].upgrade);
    connection = ask(port, request, reply, sizeof reply);
    CHECK(!strncmp(reply, ways[i].status, strlen(ways[i].status)));
    event = await(engine, SE_EVENT_PLAY_STARTED);
    snprintf(told, sizeof told, "\"door\":\"%s\"", ways[i].name);
    CHECK(strstr(se_event_ref_get(event)->json, told) && !strstr(se_event_ref_get(event)->json, "right"));
    se_event_ref_free(event);
    CHECK(seen.action == SE_AUTH_PLAY && seen.door == ways[i].door && seen.tls == 0);
    CHECK(!strcmp(seen.stream, "live/a") && !strcmp(seen.query, "key=right") && !strcmp(seen.agent, "player/1"));
    CHECK(!strcmp(seen.origin, "https://site.example") && !strcmp(seen.page_url, "https://site.example/page"));
    json = se_sessions_json(engine, "live/a");
    CHECK(json && strstr(json, told));
    se_string_free(json);
    close(connection);
    se_event_ref_free(await(engine, SE_EVENT_PLAY_ENDED));
  }

  json = se_build_info_json();
  has_player = strstr(json, "\"player\":true") != NULL;
  se_string_free(json);
  close(ask(port, "GET /play/live/a HTTP/1.0\r\n\r\n", reply, sizeof reply));
  CHECK(strstr(reply, " 200 ") && (strstr(reply, "src=\"/assets/player-") != NULL) == has_player);

  close(ask(port, "GET / HTTP/1.0\r\n\r\n", reply, sizeof reply));
  CHECK(strstr(reply, " 200 ") && (strstr(reply, "/assets/dashboard") != NULL) == has_player);
  OK(se_http_set_dashboard(engine, 0));
  close(ask(port, "GET / HTTP/1.0\r\n\r\n", reply, sizeof reply));
  CHECK(strstr(reply, " 200 ") && !strstr(reply, "/assets/dashboard"));

  connection = ask(port, "GET /live/a.flv?key=wrong HTTP/1.0\r\n\r\n", reply, sizeof reply);
  CHECK(strstr(reply, " 403 ") && strstr(reply, "not authorised"));
  close(connection);
  event = await(engine, SE_EVENT_REFUSED);
  CHECK(!strcmp(se_event_ref_get(event)->stream, "live/a"));
  se_event_ref_free(event);

  OK(se_engine_set_auth_callback(engine, decide_as_before, &seen, NULL));
  close(ask(port, "GET /live/a.flv HTTP/1.0\r\n\r\n", reply, sizeof reply));
  se_event_ref_free(await(engine, SE_EVENT_PLAY_STARTED));
  se_engine_free(engine);
}

static void listeners(const char *folder) {
  se_engine *engine = started(NULL, NULL);
  se_id plain = 0, secure = 0;
  uint16_t port = 0, tls_port = 0;
  char address[64], cert[512], key[512];
  se_event_ref *event;
  snprintf(cert, sizeof cert, "%s/cert.pem", folder);
  snprintf(key, sizeof key, "%s/key.pem", folder);
  OK(se_listen_http(engine, "127.0.0.1:0", NULL, NULL, &plain, &port));
  event = await(engine, SE_EVENT_LISTENER_OPENED);
  CHECK(se_event_ref_get(event)->id == plain && !strcmp(se_event_ref_get(event)->message, "http"));
  se_event_ref_free(event);
  OK(se_listen_http(engine, "127.0.0.1:0", cert, key, &secure, &tls_port));
  event = await(engine, SE_EVENT_LISTENER_OPENED);
  CHECK(se_event_ref_get(event)->id == secure && !strcmp(se_event_ref_get(event)->message, "https"));
  se_event_ref_free(event);
  CHECK(secure > plain && port != 0 && tls_port != 0 && port != tls_port);
  OK(se_listen_http(engine, "127.0.0.1:0", NULL, NULL, NULL, NULL));

  snprintf(address, sizeof address, "127.0.0.1:%d", port);
  EXPECT(SE_E_ADDRESS_IN_USE, se_listen_http(engine, address, NULL, NULL, NULL, NULL));
  CHECK(SAYS("listen http on ") && SAYS(address));
  EXPECT(SE_E_INVALID_ARGUMENT, se_listen_http(engine, "nowhere", NULL, NULL, NULL, NULL));
  CHECK(SAYS("listen http: ") && SAYS("nowhere"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_listen_http(engine, "127.0.0.1:0", cert, NULL, NULL, NULL));
  CHECK(SAYS("key"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_listen_http(engine, "127.0.0.1:0", NULL, key, NULL, NULL));
  CHECK(SAYS("cert"));
  EXPECT(SE_E_NOT_FOUND, se_listen_http(engine, "127.0.0.1:0", "none.pem", key, NULL, NULL));
  CHECK(SAYS("listen https on ") && SAYS("none.pem"));
  EXPECT(SE_E_FORMAT, se_listen_http(engine, "127.0.0.1:0", key, key, NULL, NULL));

  OK(se_listener_reload_tls(engine, secure, NULL, NULL));
  OK(se_listener_reload_tls(engine, secure, cert, key));
  EXPECT(SE_E_FORMAT, se_listener_reload_tls(engine, secure, key, key));
  EXPECT(SE_E_STATE, se_listener_reload_tls(engine, plain, cert, key));
  CHECK(SAYS("http"));
  OK(se_listener_close(engine, plain));
  EXPECT(SE_E_NOT_FOUND, se_listener_close(engine, plain));
  se_engine_free(engine);
}

/* One engine fetches from another what its players ask for. */
static void origins(const char *file) {
  static const char *const targets[] = {"/origin/near/live/a.flv", "/live?src=near&app=live&stream=a"};
  se_engine *origin = started(NULL, NULL), *engine = started(NULL, NULL);
  uint16_t port = 0, http = 0;
  char json[256], request[256], reply[65536], *told;
  size_t i;
  OK(se_listen_rtmp(origin, "127.0.0.1:0", NULL, &port));
  OK(se_file_publish(origin, file, "live/a", -1, NULL, NULL));
  OK(se_listen_http(engine, "127.0.0.1:0", NULL, NULL, NULL, &http));

  EXPECT(SE_E_INVALID_ARGUMENT, se_origin_set(engine, "near", "[]"));
  CHECK(SAYS("origins.near"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_origin_set(engine, "near", "{\"urls\": [\"ftp://host\"]}"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_origin_set(engine, "near", "{\"urls\": []}"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_origin_set(engine, "near", "{\"urls\": [\"rtmp://host\"], \"linger\": 1}"));
  CHECK(SAYS("linger"));
  EXPECT(SE_E_INVALID_ARGUMENT, se_origin_set(engine, "Not.an alias", "{\"urls\": [\"rtmp://host\"]}"));
  EXPECT(SE_E_NOT_FOUND, se_origin_remove(engine, "near"));
  CHECK(SAYS("near"));

  snprintf(json, sizeof json, "{\"urls\": [\"rtmp://user:s3cret@127.0.0.1:%u\"], \"linger_ms\": 500}", (unsigned)port);
  OK(se_origin_set(engine, "near", json));
  for (i = 0; i < sizeof targets / sizeof *targets; i++) {
    int connection;
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", targets[i]);
    connection = ask(http, request, reply, sizeof reply);
    CHECK(!strncmp(reply, "HTTP/1.1 200", 12));
    told = se_origins_json(engine);
    CHECK(told && strstr(told, "\"alias\":\"near\"") && !strstr(told, "s3cret"));
    CHECK(strstr(told, "\"stream\":\"origin/near/live/a\"") && strstr(told, "\"is_live\":true"));
    se_string_free(told);
    close(connection);
  }
  told = se_stats_json(engine, SE_STATS_ORIGINS);
  CHECK(told && strstr(told, "\"origins\":[{") && !strstr(told, "relays"));
  se_string_free(told);
  close(ask(http, "GET /origin/none/live/a.flv HTTP/1.0\r\n\r\n", reply, sizeof reply));
  CHECK(strstr(reply, " 404 "));
  OK(se_origin_remove(engine, "near"));
  told = se_origins_json(engine);
  CHECK(told && !strcmp(told, "[]"));
  se_string_free(told);
  se_engine_free(engine);
  EXPECT(SE_E_CLOSED, se_origin_set(engine, "near", json));
  se_engine_free(origin);
}

int main(int argc, char **argv) {
  char *facts = se_build_info_json();
  CHECK(argc == 3 && facts && strstr(facts, "\"http\":true"));
  se_string_free(facts);
  doors(argv[1]);
  listeners(argv[2]);
  origins(argv[1]);
  puts("done");
  return 0;
}
