/*
 * Publishes pictures that the program makes, as a screen recorder does, on a server.
 *
 *     publish SOURCE URL [PICTURES-PER-SECOND]
 *
 * SOURCE is a file of H.264 in Annex B form, `-` for standard input, or `pattern`: pictures drawn here and encoded by
 * libx264, where the program was compiled with -DHAVE_X264. A whole screen, by way of ffmpeg:
 *
 *     ffmpeg -f x11grab -i :0 -r 25 -c:v libx264 -tune zerolatency -f h264 - | publish - rtmp://HOST/live/screen 25
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_X264
#include <x264.h>
#endif

/* --- H.264 from a file ---------------------------------------------------------------------------------------- */

typedef struct {
    int fd;
    uint8_t *bytes;
    size_t length, room;
    size_t taken; /* bytes of the picture that was given out last */
} h264_file;

/* Reads more behind what is there; 0 at the end of the file. */
static int read_more(h264_file *file) {
    ssize_t got;
    if (file->length == file->room) {
        file->room = file->room ? 2 * file->room : 65536;
        file->bytes = realloc(file->bytes, file->room);
        if (!file->bytes) {
            perror("realloc");
            exit(1);
        }
    }
    do {
        got = read(file->fd, file->bytes + file->length, file->room - file->length);
    } while (got < 0 && errno == EINTR && !interrupted);
    file->length += got > 0 ? (size_t)got : 0;
    return got > 0;
}

static int is_slice(const uint8_t *nal) {
    return (nal[0] & 31) >= 1 && (nal[0] & 31) <= 5;
}

/* Whether a NAL unit, coming after a slice, begins another picture: delimiter, parameter set, SEI or first slice. */
static int begins_picture(const uint8_t *nal) {
    return is_slice(nal) ? nal[1] >> 7 : (nal[0] & 31) >= 6 && (nal[0] & 31) <= 9;
}

/* The next picture (access unit), valid until the next call; 0 bytes at the end. */
static size_t next_of_file(h264_file *file, const uint8_t **picture) {
    size_t at = 0;
    int slices = 0;
    file->length -= file->taken;
    if (file->taken) {
        memmove(file->bytes, file->bytes + file->taken, file->length);
    }
    for (;; at++) {
        const uint8_t *here;
        while (file->length < at + 5) {
            if (!read_more(file)) {
                *picture = file->bytes;
                return file->taken = file->length;
            }
        }
        here = file->bytes + at;
        if (here[0] || here[1] || here[2] != 1) {
            continue;
        }
        if (slices && begins_picture(here + 3)) {
            *picture = file->bytes;
            return file->taken = here[-1] ? at : at - 1; /* the start code may have one zero more */
        }
        slices |= is_slice(here + 3);
    }
}

/* --- pictures drawn here, encoded by x264 ---------------------------------------------------------------------- */

#ifdef HAVE_X264
typedef struct {
    x264_t *encoder;
    x264_picture_t picture;
    int number;
} pattern;

static void open_pattern(pattern *p, int rate) {
    x264_param_t param;
    x264_param_default_preset(&param, "veryfast", "zerolatency");
    param.i_log_level = X264_LOG_WARNING;
    param.i_csp = X264_CSP_I420;
    param.i_width = 320;
    param.i_height = 180;
    param.i_fps_num = (uint32_t)rate;
    param.i_fps_den = 1;
    param.i_keyint_max = 2 * rate;
    param.b_repeat_headers = 1;
    param.b_annexb = 1;
    p->number = 0;
    p->encoder = x264_encoder_open(&param);
    if (!p->encoder || x264_picture_alloc(&p->picture, param.i_csp, param.i_width, param.i_height) < 0) {
        fprintf(stderr, "x264 does not open\n");
        exit(1);
    }
}

/* Draws a moving slope, here in the place of a screen, and encodes it. */
static size_t next_of_pattern(pattern *p, const uint8_t **picture) {
    x264_picture_t out;
    x264_nal_t *nal;
    int x, y, count, size;
    for (y = 0; y < 180; y++) {
        for (x = 0; x < 320; x++) {
            p->picture.img.plane[0][y * p->picture.img.i_stride[0] + x] = (uint8_t)(x + y + 3 * p->number);
        }
    }
    memset(p->picture.img.plane[1], 110, 90u * (size_t)p->picture.img.i_stride[1]);
    memset(p->picture.img.plane[2], 140, 90u * (size_t)p->picture.img.i_stride[2]);
    p->picture.i_pts = p->number++;
    size = x264_encoder_encode(p->encoder, &nal, &count, &p->picture, &out);
    *picture = size > 0 ? nal[0].p_payload : NULL;
    return size > 0 ? (size_t)size : 0;
}

static void close_pattern(pattern *p) {
    x264_picture_clean(&p->picture);
    x264_encoder_close(p->encoder);
}
#endif

/* --- what the program is about --------------------------------------------------------------------------------- */

/* Waits until a picture is due. The pace of a live stream is the program's own: a push never waits. */
static void wait_until(const struct timespec *start, int64_t ns) {
    struct timespec due = *start;
    due.tv_sec += (time_t)((due.tv_nsec + ns) / 1000000000);
    due.tv_nsec = (long)((due.tv_nsec + ns) % 1000000000);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR && !interrupted) {
    }
}

/* Publishes all pictures that `next` gives. */
static long publish(se_engine *engine, size_t (*next)(void *, const uint8_t **), void *source, int rate) {
    se_publisher *publisher = NULL;
    se_frame frame;
    struct timespec start;
    long pictures = 0;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.codec = SE_CODEC_H264;
    frame.format = SE_FORMAT_ANNEXB; /* the engine makes of it what RTMP carries */
    frame.dts_ns = SE_TIME_UNSET;    /* pictures are shown in the order of decoding */

    must(se_publisher_open(engine, "live/capture", NULL, &publisher));
    must(se_publisher_set_metadata_json(publisher, "{\"encoder\": \"publish.c\"}"));
    clock_gettime(CLOCK_MONOTONIC, &start);
    while (!interrupted && (frame.len = next(source, &frame.data)) > 0) {
        frame.pts_ns = pictures * INT64_C(1000000000) / rate;
        wait_until(&start, frame.pts_ns);
        must(se_publisher_push_frame(publisher, &frame));
        pictures++;
    }
    se_publisher_free(publisher); /* ends the stream */
    return pictures;
}

static size_t file_source(void *source, const uint8_t **picture) {
    return next_of_file(source, picture);
}

#ifdef HAVE_X264
static size_t pattern_source(void *source, const uint8_t **picture) {
    return next_of_pattern(source, picture);
}
#endif

static long publish_source(se_engine *engine, const char *name, int rate) {
    h264_file file = {0, NULL, 0, 0, 0};
    long pictures;
#ifdef HAVE_X264
    if (strcmp(name, "pattern") == 0) {
        pattern drawn;
        open_pattern(&drawn, rate);
        pictures = publish(engine, pattern_source, &drawn, rate);
        close_pattern(&drawn);
        return pictures;
    }
#endif
    file.fd = strcmp(name, "-") == 0 ? 0 : open(name, O_RDONLY);
    if (file.fd < 0) {
        perror(name);
        exit(1);
    }
    pictures = publish(engine, file_source, &file, rate);
    close(file.fd);
    free(file.bytes);
    return pictures;
}

int main(int argc, char **argv) {
    se_engine *engine = NULL;
    se_relay_status target;
    se_id relay = 0;
    long pictures;
    int rate = argc > 3 ? atoi(argv[3]) : 25;

    if (argc < 3 || rate < 1) {
        fprintf(stderr, "usage: publish SOURCE URL [PICTURES-PER-SECOND]\n");
        return 2;
    }
    begin();
    must(se_engine_new(NULL, &engine));
    must(se_engine_start(engine));
    /* The engine connects as soon as the stream is live, and again whenever the connection is lost. */
    must(se_relay_add_push(engine, "live/capture", argv[2], NULL, &relay));
    pictures = publish_source(engine, argv[1], rate);

    memset(&target, 0, sizeof target);
    target.struct_size = sizeof target;
    must(se_relay_get_status(engine, relay, &target));
    printf("published %ld pictures to %s\n", pictures, target.url);
    if (target.last_error != SE_OK) {
        fprintf(stderr, "%s: %s\n", se_status_name(target.last_error), target.last_error_text);
    }
    if (se_engine_stop(engine, 2000) != SE_OK) { /* sends what is left */
        fprintf(stderr, "%s\n", se_last_error());
    }
    se_engine_free(engine);
    return target.last_error == SE_OK ? 0 : 1;
}
