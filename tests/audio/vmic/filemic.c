/* A microphone for tests: an ALSA plug-in whose "sound card" is a file of raw samples (16 bit, little-endian, mono).
 *
 * It produces frames at the pace of the clock from the moment it is started, the first one being the first of the file, and
 * after the last silence, or with `loop 1` the file again.  Two files steer it while it runs: when `gone` exists the device has
 * been pulled out, when `stuck` exists it is there and delivers nothing.  To the file `clock` it writes when it was started, in
 * seconds of CLOCK_MONOTONIC: that is when the first sample was spoken.
 */
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    snd_pcm_ioplug_t io;
    FILE *samples;
    snd_pcm_uframes_t frames;
    char *gone;
    char *stuck;
    char *clock;
    unsigned rate;
    long loop;
    int timer;
    int running;
    struct timespec started;
} filemic_t;

static int exists(const char *path) { return path && access(path, F_OK) == 0; }

/* Frames that the clock says are there since the start. */
static uint64_t frames_due(const filemic_t *mic) {
    struct timespec now;

    if (!mic->running) return 0;
    if (exists(mic->stuck)) return mic->io.appl_ptr;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)(((now.tv_sec - mic->started.tv_sec) + (now.tv_nsec - mic->started.tv_nsec) * 1e-9) * mic->rate);
}

static int set_timer(filemic_t *mic, long nanoseconds) {
    struct itimerspec spec = {{0, nanoseconds}, {0, nanoseconds}};
    return timerfd_settime(mic->timer, 0, &spec, NULL) < 0 ? -errno : 0;
}

static int on_start(snd_pcm_ioplug_t *io) {
    filemic_t *mic = io->private_data;
    FILE *clock = mic->clock ? fopen(mic->clock, "w") : NULL;

    clock_gettime(CLOCK_MONOTONIC, &mic->started);
    mic->running = 1;
    if (clock) {
        fprintf(clock, "%lld.%09ld\n", (long long)mic->started.tv_sec, mic->started.tv_nsec);
        fclose(clock);
    }
    return set_timer(mic, (long)(1e9 * io->period_size / mic->rate / 4)); /* four looks at the clock a period */
}

static int on_stop(snd_pcm_ioplug_t *io) {
    filemic_t *mic = io->private_data;
    mic->running = 0;
    return set_timer(mic, 0);
}

static int on_prepare(snd_pcm_ioplug_t *io) {
    filemic_t *mic = io->private_data;
    return exists(mic->gone) ? -ENODEV : on_stop(io);
}

static snd_pcm_sframes_t on_pointer(snd_pcm_ioplug_t *io) {
    filemic_t *mic = io->private_data;
    uint64_t due = frames_due(mic);

    if (exists(mic->gone)) {
        snd_pcm_ioplug_set_state(io, SND_PCM_STATE_DISCONNECTED);
        return -ENODEV;
    }
    return due > io->appl_ptr + io->buffer_size ? -EPIPE : (snd_pcm_sframes_t)due; /* EPIPE: an overrun */
}

static snd_pcm_sframes_t on_transfer(snd_pcm_ioplug_t *io, const snd_pcm_channel_area_t *areas,
                                     snd_pcm_uframes_t offset, snd_pcm_uframes_t count) {
    filemic_t *mic = io->private_data;
    int16_t *out = (int16_t *)((char *)areas->addr + (areas->first + offset * areas->step) / 8);
    snd_pcm_uframes_t done = 0;

    while (done < count) {
        snd_pcm_uframes_t position = io->appl_ptr + done;
        size_t got = 0;
        if (mic->loop && mic->frames) position %= mic->frames;
        if (fseek(mic->samples, (long)position * 2, SEEK_SET) == 0) got = fread(out + done, 2, count - done, mic->samples);
        if (!mic->loop || got == 0) {
            memset(out + done + got, 0, (count - done - got) * 2);
            break;
        }
        done += got;
    }
    return (snd_pcm_sframes_t)count;
}

static int on_events(snd_pcm_ioplug_t *io, struct pollfd *fds, unsigned count, unsigned short *events) {
    filemic_t *mic = io->private_data;
    uint64_t ticks;

    (void)count;
    if (exists(mic->gone)) {
        *events = POLLIN | POLLERR;
        return 0;
    }
    if ((fds[0].revents & POLLIN) && read(mic->timer, &ticks, sizeof ticks) < 0 && errno != EAGAIN) return -errno;
    *events = mic->running && frames_due(mic) >= io->appl_ptr + io->period_size ? POLLIN : 0;
    return 0;
}

static int on_close(snd_pcm_ioplug_t *io) {
    filemic_t *mic = io->private_data;
    if (mic->timer >= 0) close(mic->timer);
    if (mic->samples) fclose(mic->samples);
    free(mic->gone);
    free(mic->stuck);
    free(mic->clock);
    free(mic);
    return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
    .start = on_start,
    .stop = on_stop,
    .prepare = on_prepare,
    .pointer = on_pointer,
    .transfer = on_transfer,
    .poll_revents = on_events,
    .close = on_close,
};

/* One channel, one format, one rate: like a real card, it leaves conversions to others. */
static int limit_parameters(filemic_t *mic) {
    unsigned access[] = {SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_ACCESS_MMAP_INTERLEAVED};
    unsigned format[] = {SND_PCM_FORMAT_S16_LE};
    int error;

    if ((error = snd_pcm_ioplug_set_param_list(&mic->io, SND_PCM_IOPLUG_HW_ACCESS, 2, access)) < 0 ||
        (error = snd_pcm_ioplug_set_param_list(&mic->io, SND_PCM_IOPLUG_HW_FORMAT, 1, format)) < 0 ||
        (error = snd_pcm_ioplug_set_param_list(&mic->io, SND_PCM_IOPLUG_HW_RATE, 1, &mic->rate)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&mic->io, SND_PCM_IOPLUG_HW_CHANNELS, 1, 1)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&mic->io, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 64, 1 << 16)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&mic->io, SND_PCM_IOPLUG_HW_BUFFER_BYTES, 128, 1 << 18)) < 0 ||
        (error = snd_pcm_ioplug_set_param_minmax(&mic->io, SND_PCM_IOPLUG_HW_PERIODS, 2, 1024)) < 0)
        return error;
    return 0;
}

SND_PCM_PLUGIN_DEFINE_FUNC(filemic) {
    snd_config_iterator_t i, next;
    const char *samples = NULL, *gone = NULL, *stuck = NULL, *clock = NULL;
    long rate = 16000, loop = 0;
    filemic_t *mic;
    int error;

    (void)root;
    snd_config_for_each(i, next, conf) {
        snd_config_t *entry = snd_config_iterator_entry(i);
        const char *id;
        if (snd_config_get_id(entry, &id) < 0) continue;
        if (!strcmp(id, "samples")) snd_config_get_string(entry, &samples);
        if (!strcmp(id, "gone")) snd_config_get_string(entry, &gone);
        if (!strcmp(id, "stuck")) snd_config_get_string(entry, &stuck);
        if (!strcmp(id, "clock")) snd_config_get_string(entry, &clock);
        if (!strcmp(id, "rate")) snd_config_get_integer(entry, &rate);
        if (!strcmp(id, "loop")) snd_config_get_integer(entry, &loop);
    }
    if (stream != SND_PCM_STREAM_CAPTURE) return -ENXIO;
    if (!samples) return -EINVAL;
    if (exists(gone)) return -ENODEV;
    if (!(mic = calloc(1, sizeof *mic))) return -ENOMEM;

    mic->samples = fopen(samples, "rb");
    if (mic->samples && fseek(mic->samples, 0, SEEK_END) == 0) mic->frames = (snd_pcm_uframes_t)ftell(mic->samples) / 2;
    mic->loop = loop;
    mic->gone = gone ? strdup(gone) : NULL;
    mic->stuck = stuck ? strdup(stuck) : NULL;
    mic->clock = clock ? strdup(clock) : NULL;
    mic->rate = (unsigned)rate;
    mic->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    mic->io.version = SND_PCM_IOPLUG_VERSION;
    mic->io.name = "filemic";
    mic->io.flags = SND_PCM_IOPLUG_FLAG_BOUNDARY_WA;
    mic->io.callback = &callbacks;
    mic->io.private_data = mic;
    mic->io.poll_fd = mic->timer;
    mic->io.poll_events = POLLIN;
    if (!mic->samples || mic->timer < 0 || (error = snd_pcm_ioplug_create(&mic->io, name, stream, mode)) < 0) {
        error = mic->samples && mic->timer >= 0 ? error : -errno;
        on_close(&mic->io);
        return error;
    }
    if ((error = limit_parameters(mic)) < 0) {
        snd_pcm_ioplug_delete(&mic->io);
        return error;
    }
    *pcmp = mic->io.pcm;
    return 0;
}
SND_PCM_PLUGIN_SYMBOL(filemic);
