// The C face of libfreenect2; lf2.h says what the functions do.
#include "lf2.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>

#include <libfreenect2/frame_listener.hpp>
#include <libfreenect2/libfreenect2.hpp>
#include <libfreenect2/logger.h>
#include <libfreenect2/packet_pipeline.h>

#include "lf2_layout.h"

using libfreenect2::Frame;
using libfreenect2::Logger;
static_assert(int(LF2_INFRARED) == int(Frame::Ir) && int(LF2_DEPTH) == int(Frame::Depth), "frame types");
static_assert(int(LF2_FORMAT_RAW) == int(Frame::Raw) && int(LF2_FORMAT_FLOAT) == int(Frame::Float), "formats");
static_assert(int(LF2_ERROR) == int(Logger::Error) && int(LF2_DEBUG) == int(Logger::Debug), "levels");

namespace {

// Hands frames on, until it is told not to.
class Listener : public libfreenect2::FrameListener {
public:
    Listener(lf2_on_frame call, void *user) : call_(call), user_(user) {}

    bool onNewFrame(Frame::Type type, Frame *frame) override {
        // Infrared of the raw pipeline is the raw frame once more.
        const bool wanted = type == Frame::Depth
            || (type == Frame::Ir && frame->format == Frame::Float);
        if (wanted && !closing.load(std::memory_order_relaxed)) {
            lf2_frame given = {};
            given.type = type;
            given.format = frame->format;
            given.width = static_cast<uint32_t>(frame->width);
            given.height = static_cast<uint32_t>(frame->height);
            given.timestamp = frame->timestamp;
            given.sequence = frame->sequence;
            given.status = frame->status;
            given.data = frame->data;
            given.length = frame->width * frame->height * frame->bytes_per_pixel;
            call_(user_, &given);
        }
        // It stays the library's, which uses it again or frees it.
        return false;
    }

    std::atomic<bool> closing{false};

private:
    const lf2_on_frame call_;
    void *const user_;
};

// What all pipelines have in common here. A device that closes sets its decoder's listener to NULL, through this pointer,
// while the decoder may be about to call it. Without the pointer it cannot: then the listener stays until the thread has
// ended, which is when the pipeline is freed.
class Guard {
public:
    virtual ~Guard() {}
    std::atomic<bool> closing{false};
};

template <class Base>
class Guarded : public Base, public Guard {
public:
    libfreenect2::DepthPacketProcessor *getDepthPacketProcessor() const override {
        return closing.load(std::memory_order_acquire) ? nullptr : Base::getDepthPacketProcessor();
    }
};

struct Made {
    libfreenect2::PacketPipeline *pipeline;
    Guard *guard;
    libfreenect2::DumpPacketPipeline *dump;
};

template <class Base>
Made make() {
    Guarded<Base> *made = new Guarded<Base>();
    return Made{made, made, nullptr};
}

Made make(uint32_t pipeline) {
    switch (pipeline) {
    case LF2_RAW: {
        Guarded<libfreenect2::DumpPacketPipeline> *made = new Guarded<libfreenect2::DumpPacketPipeline>();
        return Made{made, made, made};
    }
    case LF2_CPU:
        return make<libfreenect2::CpuPacketPipeline>();
#ifdef LIBFREENECT2_WITH_OPENGL_SUPPORT
    case LF2_GL:
        return make<libfreenect2::OpenGLPacketPipeline>();
#endif
#ifdef LIBFREENECT2_WITH_OPENCL_SUPPORT
    case LF2_CL:
        return make<libfreenect2::OpenCLPacketPipeline>();
#endif
#ifdef LIBFREENECT2_WITH_CUDA_SUPPORT
    case LF2_CUDA:
        return make<libfreenect2::CudaPacketPipeline>();
#endif
    default:
        return Made{nullptr, nullptr, nullptr};
    }
}

class Log : public Logger {
public:
    explicit Log(lf2_on_log log) : log_(log) { level_ = log ? Debug : None; }

    void log(Level level, const std::string &message) override {
        if (log_) log_(static_cast<uint32_t>(level), message.data(), message.size());
    }

private:
    const lf2_on_log log_;
};

void copy(const std::string &from, char *text, size_t room) {
    const size_t length = std::min(from.size(), room - 1);
    std::memcpy(text, from.data(), length);
    text[length] = 0;
}

}  // namespace

struct lf2_context {
    libfreenect2::Freenect2 library;
};

struct lf2_device {
    libfreenect2::Freenect2Device *device;
    // Both are parts of what the device owns.
    Guard *guard;
    libfreenect2::DumpPacketPipeline *dump;
    std::unique_ptr<Listener> listener;
    bool started;

    lf2_device() : device(nullptr), guard(nullptr), dump(nullptr), started(false) {}

    ~lf2_device() {
        if (!device) return;
        if (listener) listener->closing = true;
        guard->closing.store(true, std::memory_order_release);
        try {
            // Stops first, if it streams.
            device->close();
        } catch (...) {
        }
        // Joins the decoder's thread; the listener is freed after that.
        delete device;
    }
};

uint32_t lf2_pipelines(void) {
    uint32_t built = LF2_RAW | LF2_CPU;
#ifdef LIBFREENECT2_WITH_OPENGL_SUPPORT
    built |= LF2_GL;
#endif
#ifdef LIBFREENECT2_WITH_OPENCL_SUPPORT
    built |= LF2_CL;
#endif
#ifdef LIBFREENECT2_WITH_CUDA_SUPPORT
    built |= LF2_CUDA;
#endif
    return built;
}

int32_t lf2_set_log(lf2_on_log log) {
    try {
        // The library frees it when it gets another.
        libfreenect2::setGlobalLogger(new Log(log));
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_context_new(lf2_context **context) {
    if (!context) return LF2_MISUSE;
    *context = nullptr;
    try {
        *context = new lf2_context();
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

void lf2_context_free(lf2_context *context) {
    try {
        delete context;
    } catch (...) {
    }
}

int32_t lf2_open(lf2_context *context, const char *serial, uint32_t pipeline, lf2_device **device) {
    if (!context || !device) return LF2_MISUSE;
    *device = nullptr;
    try {
        // Anew each time: the list of the last look may name what is gone.
        const int count = context->library.enumerateDevices();
        int index = 0;
        while (serial && index < count && context->library.getDeviceSerialNumber(index) != serial) index++;
        if (index >= count) return LF2_NOT_FOUND;
        const std::string wanted = context->library.getDeviceSerialNumber(index);

        std::unique_ptr<lf2_device> opened(new lf2_device());
        const Made made = make(pipeline);
        if (!made.pipeline) return LF2_NO_PIPELINE;
        // From here on the pipeline is the library's, also if this fails.
        libfreenect2::Freenect2Device *open = context->library.openDevice(index, made.pipeline);
        if (!open) return LF2_OPEN_FAILED;
        opened->device = open;
        opened->guard = made.guard;
        opened->dump = made.dump;
        if (open->getSerialNumber() != wanted) return LF2_OTHER_SENSOR;
        *device = opened.release();
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_start(lf2_device *device, const lf2_settings *settings, lf2_on_frame call, void *user) {
    if (!device || !settings || !call || device->listener) return LF2_MISUSE;
    try {
        libfreenect2::Freenect2Device::Config config;
        config.MinDepth = settings->min_depth_m;
        config.MaxDepth = settings->max_depth_m;
        config.EnableBilateralFilter = settings->bilateral != 0;
        config.EnableEdgeAwareFilter = settings->edge != 0;
        device->listener.reset(new Listener(call, user));
        device->device->setConfiguration(config);
        device->device->setIrAndDepthFrameListener(device->listener.get());
        if (!device->device->startStreams(false, true)) return LF2_START_FAILED;
        device->started = true;
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_serial(lf2_device *device, char *text, size_t room) {
    if (!device || !text || !room) return LF2_MISUSE;
    try {
        copy(device->device->getSerialNumber(), text, room);
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_firmware(lf2_device *device, char *text, size_t room) {
    if (!device || !text || !room || !device->started) return LF2_MISUSE;
    try {
        copy(device->device->getFirmwareVersion(), text, room);
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_get_lens(lf2_device *device, lf2_lens *lens) {
    if (!device || !lens || !device->started) return LF2_MISUSE;
    try {
        const libfreenect2::Freenect2Device::IrCameraParams p = device->device->getIrCameraParams();
        *lens = lf2_lens{p.fx, p.fy, p.cx, p.cy, p.k1, p.k2, p.k3, p.p1, p.p2};
        return LF2_OK;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

int32_t lf2_p0(lf2_device *device, const uint8_t **data, size_t *length) {
    if (!device || !data || !length || !device->started || !device->dump) return LF2_MISUSE;
    try {
        // The length is that of the least reply that the library accepts.
        *data = device->dump->getDepthP0Tables(length);
        return *data ? LF2_OK : LF2_MISUSE;
    } catch (...) {
        return LF2_EXCEPTION;
    }
}

void lf2_close(lf2_device *device) {
    try {
        delete device;
    } catch (...) {
    }
}
