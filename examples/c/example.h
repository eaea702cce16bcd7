/* What the examples share: an error ends the program with its text, Ctrl-C ends it in good order. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <streamengine.h>

static volatile sig_atomic_t interrupted = 0;

static void on_signal(int number) {
    (void)number;
    interrupted = 1;
}

/* From now on Ctrl-C sets `interrupted`. Output comes line by line, also into a pipe. */
static inline void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

/* Ends the program if a call has failed. The text names the object and the cause. */
static inline void must(se_status status) {
    if (status != SE_OK) {
        fprintf(stderr, "%s: %s\n", se_status_name(status), se_last_error());
        exit(1);
    }
}

#endif
