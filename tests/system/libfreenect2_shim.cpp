// Drives the C face of libfreenect2 as the appliance does, without the appliance, so that sanitizers see all of it.
//
//   shim life TIMES raw|cpu       open, start, three frames, close; so many times in one process
//   shim frames COUNT raw|cpu     so many frames, each byte of them read
//   shim misuse                   what the header forbids is refused
// Prints one line of figures; exits 0 if all was well.
#include "lf2.h"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <unistd.h>

namespace {

struct Seen {
    std::atomic<unsigned long> depth{0}, infrared{0}, wrong{0};
    std::atomic<unsigned> sum{0};
    std::atomic<bool> closed{false};
};

void on_frame(void *user, const lf2_frame *frame) {
    Seen &seen = *static_cast<Seen *>(user);
    // After lf2_close nobody may be called.
    if (seen.closed) std::abort();
    const size_t raw = 2984960, floats = 512 * 424 * 4;
    const bool is_raw = frame->format == LF2_FORMAT_RAW;
    if (frame->length != (is_raw ? raw : floats) || frame->status != 0) seen.wrong++;
    // Every part of it must be there.
    unsigned sum = 0;
    for (size_t i = 0; i < frame->length; i += 61) sum += frame->data[i];
    sum += frame->data[frame->length - 1];
    seen.sum += sum;
    (frame->type == LF2_DEPTH ? seen.depth : seen.infrared)++;
}

void on_log(uint32_t level, const char *text, size_t length) {
    if (level <= LF2_WARNING && std::getenv("VERBOSE")) fprintf(stderr, "%.*s\n", int(length), text);
}

bool reaches(Seen &seen, unsigned long frames, double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (seen.depth < frames) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

long resident_kb() {
    long pages = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (!statm || fscanf(statm, "%ld %ld", &pages, &resident) != 2) resident = 0;
    if (statm) fclose(statm);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int threads() {
    int count = 0;
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "Threads: %d", &count);
    if (status) fclose(status);
    return count;
}

bool once(lf2_context *context, uint32_t pipeline, unsigned long frames, unsigned long *total) {
    lf2_device *device = nullptr;
    int32_t result = lf2_open(context, nullptr, pipeline, &device);
    if (result != LF2_OK) {
        printf("open: %d\n", result);
        return false;
    }
    const lf2_settings settings = {0.5f, 4.5f, 1, 1};
    Seen seen;
    result = lf2_start(device, &settings, on_frame, &seen);
    char serial[65], firmware[65];
    lf2_lens lens;
    bool fine = result == LF2_OK && lf2_start(device, &settings, on_frame, &seen) == LF2_MISUSE
        && lf2_serial(device, serial, sizeof serial) == LF2_OK && lf2_serial(device, serial, 4) == LF2_OK
        && strlen(serial) == 3 && lf2_firmware(device, firmware, sizeof firmware) == LF2_OK
        && lf2_get_lens(device, &lens) == LF2_OK && lens.fx > 300 && lens.fx < 450;
    const uint8_t *p0 = nullptr;
    size_t length = 0;
    if (fine && pipeline == LF2_RAW) {
        unsigned sum = 0;
        fine = lf2_p0(device, &p0, &length) == LF2_OK;
        for (size_t i = 0; fine && i < length; i++) sum += p0[i];
        seen.sum += sum;
    } else if (fine) {
        fine = lf2_p0(device, &p0, &length) == LF2_MISUSE;
    }
    // Frames of a decoder that is slow under a sanitizer.
    fine = fine && reaches(seen, frames, 60 + 0.5 * double(frames));
    lf2_close(device);
    seen.closed = true;
    *total += seen.depth;
    if (seen.wrong || (pipeline != LF2_RAW && seen.infrared < frames)) fine = false;
    if (!fine) printf("start %d, %lu frames, %lu infrared, %lu wrong\n", result, seen.depth.load(), seen.infrared.load(), seen.wrong.load());
    return fine;
}

int misuse() {
    lf2_device *device = nullptr;
    lf2_context *context = nullptr;
    lf2_close(nullptr);
    lf2_context_free(nullptr);
    bool fine = lf2_context_new(nullptr) == LF2_MISUSE && lf2_context_new(&context) == LF2_OK
        && lf2_open(nullptr, nullptr, LF2_RAW, &device) == LF2_MISUSE
        && lf2_open(context, nullptr, LF2_RAW, nullptr) == LF2_MISUSE
        && lf2_open(context, "no such serial", LF2_RAW, &device) == LF2_NOT_FOUND
        && lf2_open(context, nullptr, 1u << 31, &device) == LF2_NO_PIPELINE && !device
        && lf2_start(nullptr, nullptr, nullptr, nullptr) == LF2_MISUSE;
    char text[8];
    fine = fine && lf2_open(context, nullptr, LF2_CPU, &device) == LF2_OK
        && lf2_firmware(device, text, sizeof text) == LF2_MISUSE && lf2_serial(device, text, 0) == LF2_MISUSE
        && lf2_start(device, nullptr, on_frame, nullptr) == LF2_MISUSE;
    // Opened and never started.
    lf2_close(device);
    lf2_context_free(context);
    printf("misuse: %s\n", fine ? "refused" : "NOT refused");
    return fine ? 0 : 1;
}

}  // namespace

int main(int argc, char **argv) {
    if (lf2_set_log(on_log) != LF2_OK) return 1;
    if (argc == 2 && !strcmp(argv[1], "misuse")) return misuse();
    if (argc != 4) return 2;
    const unsigned long count = strtoul(argv[2], nullptr, 10);
    const uint32_t pipeline = !strcmp(argv[3], "cpu") ? LF2_CPU : LF2_RAW;
    const bool life = !strcmp(argv[1], "life");
    lf2_context *context = nullptr;
    if (lf2_context_new(&context) != LF2_OK) return 1;
    unsigned long frames = 0, done = 0, early = 0;
    const auto begun = std::chrono::steady_clock::now();
    const unsigned long rounds = life ? count : 1;
    for (; done < rounds && once(context, pipeline, life ? 3 : count, &frames); done++) {
        // What the first ones leave behind is what stays.
        if (done == rounds / 5) early = static_cast<unsigned long>(resident_kb());
    }
    const int left = threads();
    lf2_context_free(context);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    printf("%s %s: %lu of %lu rounds, %lu frames, %.1f s, %d threads while closed, %lu kB resident after a fifth, %ld at the end\n",
           argv[1], argv[3], done, rounds, frames, seconds, left, early, resident_kb());
    return done == rounds ? 0 : 1;
}
