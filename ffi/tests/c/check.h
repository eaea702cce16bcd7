/* What the test programs share: checks that end the program with the place and the library's error. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <streamengine.h>

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                   \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

/* A call that has to give this status. */
#define GIVES(expected, call)                                                                         \
    do {                                                                                              \
        se_status status_ = (call);                                                                   \
        if (status_ != (expected)) {                                                                  \
            fprintf(stderr, "%s:%d: %s gives %s: %s\n", __FILE__, __LINE__, #call,                    \
                    se_status_name(status_), se_last_error());                                        \
            exit(1);                                                                                  \
        }                                                                                             \
    } while (0)

#define OK(call) GIVES(SE_OK, call)

#endif
