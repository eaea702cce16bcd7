/*
 * Serves RTMP; who may publish is decided on another thread, as where a database must be asked.
 *
 *     auth [ADDRESS [KEY]]                     publish to rtmp://ADDRESS/live/NAME?key=KEY
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"
#include <pthread.h>

/* Requests that wait for the worker. */
typedef struct waiting {
    se_auth_request *request;
    struct waiting *next;
} waiting;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    waiting *first;
    int ending;
    const char *key;
} desk;

/* Runs on the engine's callback thread: it must be quick, so it only decides what is clear. */
static int32_t on_request(se_auth_request *request, void *user_data) {
    desk *d = user_data;
    waiting *entry;
    se_auth_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    if (se_auth_request_get(request, &info) != SE_OK) {
        return SE_AUTH_DENY;
    }
    if (info.action == SE_AUTH_PLAY) {
        return SE_AUTH_ALLOW;
    }
    entry = malloc(sizeof *entry);
    if (!entry) {
        return SE_AUTH_DENY;
    }
    pthread_mutex_lock(&d->lock);
    entry->request = request;
    entry->next = d->first;
    d->first = entry;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
    return SE_AUTH_DEFER; /* the request is ours now */
}

/* Stands for something that takes its time. The query is `key=KEY`, perhaps with other parts before and behind. */
static int key_is_right(const char *query, const char *key) {
    size_t len = strlen(key);
    const char *part = query;
    while (part) {
        if (strncmp(part, "key=", 4) == 0 && strncmp(part + 4, key, len) == 0 &&
            (part[4 + len] == '\0' || part[4 + len] == '&')) {
            return 1;
        }
        part = strchr(part, '&');
        part = part ? part + 1 : NULL;
    }
    return 0;
}

static void answer(se_auth_request *request, const char *key) {
    se_auth_info info;
    int allow;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    must(se_auth_request_get(request, &info));
    allow = key_is_right(info.query, key);
    printf("%s to %s from %s\n", allow ? "granted" : "refused", info.stream, info.peer);
    se_auth_request_reply(request, allow, allow ? "holder of the key" : "ask the owner for a key");
}

static void *work(void *argument) {
    desk *d = argument;
    pthread_mutex_lock(&d->lock);
    while (d->first || !d->ending) {
        waiting *entry = d->first;
        if (!entry) {
            pthread_cond_wait(&d->more, &d->lock);
            continue;
        }
        d->first = entry->next;
        pthread_mutex_unlock(&d->lock);
        answer(entry->request, d->key);
        free(entry);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

static void end_work(desk *d, pthread_t worker) {
    pthread_mutex_lock(&d->lock);
    d->ending = 1;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
    pthread_join(worker, NULL);
}

int main(int argc, char **argv) {
    const char *address = argc > 1 ? argv[1] : "127.0.0.1:1935";
    desk d = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, argc > 2 ? argv[2] : "secret"};
    se_engine *engine = NULL;
    se_event_ref *event = NULL;
    pthread_t worker;
    uint16_t port = 0;

    begin();
    if (pthread_create(&worker, NULL, work, &d) != 0) {
        fprintf(stderr, "no thread\n");
        return 1;
    }
    must(se_engine_new(NULL, &engine));
    must(se_engine_set_auth_callback(engine, on_request, &d, NULL));
    must(se_engine_start(engine));
    must(se_listen_rtmp(engine, address, NULL, &port));
    printf("serving at port %u\n", (unsigned)port);
    while (!interrupted) {
        if (se_engine_next_event(engine, 200, &event) == SE_OK) {
            puts(se_event_ref_get(event)->json);
            se_event_ref_free(event);
        }
    }
    se_engine_free(engine); /* no callback comes after this */
    end_work(&d, worker);
    return 0;
}
