/* A C face of libfreenect2: one sensor, depth and infrared, no colour.
 *
 * No exception leaves a function. Functions that can fail return an LF2_ code; what they would have made is then NULL or
 * untouched. A context and the devices opened through it are used by one thread at a time (any thread); only the
 * callbacks run in threads of the library, and none of the functions may be called from there. lf2_open, lf2_start and
 * lf2_close block: a reset alone can take a second, all of it some ten.
 *
 * Faults of the library (version 0.2) that are mended here:
 *  - Closing a device takes the listener from a decoder that may be at work, and some decoders then call through NULL.
 *    Here the decoder keeps its listener until its thread has ended.
 *  - A sensor that comes back elsewhere after its reset is opened by its place in the list, so it can be another one.
 *    Here its serial number is compared (LF2_OTHER_SENSOR).
 *  - It writes to the standard streams. lf2_set_log takes that over.
 * That cannot be mended from outside:
 *  - A frame is handed out when the next one begins, 18 to 20 ms late, and with the next one's timestamp.
 *  - An isochronous packet with an error makes it read the rest of the transfer from the wrong place.
 *  - That a sensor is unplugged is not reported: frames stop.
 *  - Closing can wait for ever (a lost wake-up; a transfer that does not come back).
 *  - A reference to the USB device is lost with each look for sensors: some hundred bytes.
 *  - The decoders `cpu` and `gl` read the X and Z tables upside down (see LF2_UPSIDE_DOWN).
 */
#ifndef DEPTHCAST_LF2_H
#define DEPTHCAST_LF2_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How a call ended. */
enum {
    LF2_OK = 0,
    /* No sensor, or none with this serial number. */
    LF2_NOT_FOUND = 1,
    /* There, but it cannot be opened: rights, another owner, USB 2, a failed reset. The log says which. */
    LF2_OPEN_FAILED = 2,
    /* Opened, but it does not start: a command failed, or no bandwidth. */
    LF2_START_FAILED = 3,
    /* The library was built without this pipeline, or it cannot be made. */
    LF2_NO_PIPELINE = 4,
    /* Another sensor was opened than asked for; it is closed again. */
    LF2_OTHER_SENSOR = 5,
    /* An exception, of which there is no memory is one. */
    LF2_EXCEPTION = 6,
    /* A NULL where none may be, or called too early. */
    LF2_MISUSE = 7
};

/* How raw frames become depth; bits, for lf2_pipelines. */
enum {
    LF2_RAW = 1,  /* not at all: raw frames are handed out */
    LF2_CPU = 2,
    LF2_GL = 4,   /* needs a display */
    LF2_CL = 8,
    LF2_CUDA = 16
};

/* Pipelines that read the X and Z tables upside down: depths in the upper rows are up to 2 % short, in the lower ones as
 * much too long. By their sources: these index the tables by a row that counts from the bottom, the others from the top. */
#define LF2_UPSIDE_DOWN (LF2_CPU | LF2_GL)

/* What a frame holds. */
enum { LF2_INFRARED = 2, LF2_DEPTH = 4 };
/* How: bytes as the sensor sent them, or one float per pixel. */
enum { LF2_FORMAT_RAW = 1, LF2_FORMAT_FLOAT = 2 };

/* Severity of a message. */
enum { LF2_ERROR = 1, LF2_WARNING = 2, LF2_INFO = 3, LF2_DEBUG = 4 };

typedef struct lf2_context lf2_context;
typedef struct lf2_device lf2_device;

/* A frame, valid during the callback only. */
typedef struct lf2_frame {
    uint32_t type;      /* LF2_INFRARED or LF2_DEPTH */
    uint32_t format;    /* LF2_FORMAT_; infrared of LF2_RAW is left out */
    uint32_t width;     /* pixels of a row; 1 for raw frames */
    uint32_t height;    /* rows, top to bottom; 1 for raw frames */
    uint32_t timestamp; /* of the sensor, 0.125 ms; that of the next frame */
    uint32_t sequence;  /* of the sensor; rises by one */
    uint32_t status;    /* 0 if the frame is good */
    uint32_t reserved;
    const uint8_t *data;
    size_t length;      /* bytes */
} lf2_frame;

/* What a decoder of the library makes of frames; LF2_RAW ignores it. */
typedef struct lf2_settings {
    float min_depth_m;
    float max_depth_m;
    uint32_t bilateral; /* 0 or 1 */
    uint32_t edge;      /* 0 or 1 */
} lf2_settings;

/* The lens of the depth camera, in pixels. */
typedef struct lf2_lens {
    float fx, fy, cx, cy, k1, k2, k3, p1, p2;
} lf2_lens;

/* Called in a thread of the library, for infrared first, then for depth; never by two threads at once. Must not block. */
typedef void (*lf2_on_frame)(void *user, const lf2_frame *frame);

/* Called in any thread, also by several at once. `text` is not terminated. */
typedef void (*lf2_on_log)(uint32_t level, const char *text, size_t length);

/* Pipelines that the library was built with: bits LF2_RAW to LF2_CUDA. */
uint32_t lf2_pipelines(void);

/* Hands the library's messages to `log`, for good; NULL silences it. Before the first context, and not at the same time
 * as anything else here. */
int32_t lf2_set_log(lf2_on_log log);

/* Begins: starts the library's USB thread. */
int32_t lf2_context_new(lf2_context **context);

/* Ends; all its devices must be closed. NULL is fine. */
void lf2_context_free(lf2_context *context);

/* Looks for sensors, opens one, which resets it.
 * serial:   which one, terminated; NULL takes the first.
 * pipeline: one of the LF2_ bits. */
int32_t lf2_open(lf2_context *context, const char *serial, uint32_t pipeline, lf2_device **device);

/* Starts depth and infrared. To be called once. From here on `call` is called, until lf2_close returns; `user` must live
 * as long. On failure lf2_close is what is left to do. */
int32_t lf2_start(lf2_device *device, const lf2_settings *settings, lf2_on_frame call, void *user);

/* Copies the serial number, cut to `room` with its terminating zero; good after lf2_open. */
int32_t lf2_serial(lf2_device *device, char *text, size_t room);

/* The same of the firmware's version, such as 4.0.3912.0; good after lf2_start. */
int32_t lf2_firmware(lf2_device *device, char *text, size_t room);

/* The lens as the sensor says; good after lf2_start. */
int32_t lf2_get_lens(lf2_device *device, lf2_lens *lens);

/* The P0 tables as the sensor sent them; good after lf2_start, with LF2_RAW only, and until lf2_close. */
int32_t lf2_p0(lf2_device *device, const uint8_t **data, size_t *length);

/* Stops, closes and frees. NULL is fine. When it returns, no callback runs, nor will one. */
void lf2_close(lf2_device *device);

#ifdef __cplusplus
}
#endif
#endif
