/* What the test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <streamengine.h>

/* Ends the program where a condition does not hold. */
#define CHECK(condition)                                                                        \
  do {                                                                                          \
    if (!(condition)) {                                                                         \
      fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, se_last_error()); \
      abort();                                                                                  \
    }                                                                                           \
  } while (0)

/* Ends the program where a call does not come to the status that is expected. */
#define EXPECT(expected, call)                                                                  \
  do {                                                                                          \
    se_status status_ = (call);                                                                 \
    if (status_ != (expected)) {                                                                \
      fprintf(stderr, "%s:%d: %s is %s: %s\n", __FILE__, __LINE__, #call, se_status_name(status_), se_last_error()); \
      abort();                                                                                  \
    }                                                                                           \
  } while (0)

/* A call that has to succeed. */
#define OK(call) EXPECT(SE_OK, call)

/* Whether the last error says so. */
#define SAYS(text) (strstr(se_last_error(), (text)) != NULL)

/* An engine with one setting (or none), started. */
static inline se_engine *started(const char *key, const char *value) {
  se_config *config = se_config_new();
  se_engine *engine = NULL;
  if (key) EXPECT(SE_OK, se_config_set(config, key, value));
  EXPECT(SE_OK, se_engine_new(config, &engine));
  se_config_free(config);
  EXPECT(SE_OK, se_engine_start(engine));
  return engine;
}

/* The next event of a type, those before it dropped. */
static inline se_event_ref *await(se_engine *engine, int32_t type) {
  for (;;) {
    se_event_ref *event = NULL;
    EXPECT(SE_OK, se_engine_next_event(engine, 20000, &event));
    if (se_event_ref_get(event)->type == type) return event;
    se_event_ref_free(event);
  }
}

#endif
