/* A wall clock that is off by as many seconds as the file named by FAULTS_CLOCK says, an int64 in memory order.
 *
 * To be preloaded (LD_PRELOAD). The monotonic clocks are left alone, as a stepped clock leaves them. Times of
 * modification are the kernel's, which has the true clock: they are shown, and set, as if it had this one. libfaketime
 * would do, but for clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME), which Python's time.sleep calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_CLOCK");
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (descriptor < 0)
        return;
    void *memory = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, descriptor, 0);
    if (memory != MAP_FAILED)
        offset = memory;
    close(descriptor);
}

static int64_t now_off(void) { return offset ? *offset : 0; }

#define REAL(type, name, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real)                                                                                                         \
        real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int done = real(clock, time);
    if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        time->tv_sec += now_off();
    return done;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    result->tv_sec = now.tv_sec;
    result->tv_usec = now.tv_nsec / 1000;
    return 0;
}

#define SHOWN(name, kind, parameters, types, arguments)                                                                \
    int name parameters {                                                                                              \
        static int(*real) types;                                                                                       \
        if (!real)                                                                                                     \
            real = (int(*) types)dlsym(RTLD_NEXT, #name);                                                              \
        int done = real arguments;                                                                                     \
        if (done == 0)                                                                                                 \
            found->st_mtim.tv_sec += now_off();                                                                        \
        return done;                                                                                                   \
    }
#define SHOWN_BY_PATH(name, kind)                                                                                      \
    SHOWN(name, kind, (const char *restrict path, kind *restrict found), (const char *, kind *), (path, found))
#define SHOWN_BY_DESCRIPTOR(name, kind)                                                                                \
    SHOWN(name, kind, (int descriptor, kind *found), (int, kind *), (descriptor, found))
#define SHOWN_BELOW(name, kind)                                                                                        \
    SHOWN(name, kind, (int folder, const char *restrict path, kind *restrict found, int flags),                       \
          (int, const char *, kind *, int), (folder, path, found, flags))

SHOWN_BY_PATH(stat, struct stat)
SHOWN_BY_PATH(lstat, struct stat)
SHOWN_BY_DESCRIPTOR(fstat, struct stat)
SHOWN_BELOW(fstatat, struct stat)
SHOWN_BY_PATH(stat64, struct stat64)
SHOWN_BY_PATH(lstat64, struct stat64)
SHOWN_BY_DESCRIPTOR(fstat64, struct stat64)
SHOWN_BELOW(fstatat64, struct stat64)

static const struct timespec *true_times(const struct timespec times[2], struct timespec copy[2]) {
    if (!times)
        return NULL;
    for (int each = 0; each < 2; each++) {
        copy[each] = times[each];
        if (times[each].tv_nsec != UTIME_NOW && times[each].tv_nsec != UTIME_OMIT)
            copy[each].tv_sec -= now_off();
    }
    return copy;
}

int futimens(int descriptor, const struct timespec times[2]) {
    struct timespec copy[2];
    REAL(int, futimens, int, const struct timespec *);
    return real(descriptor, true_times(times, copy));
}

int utimensat(int folder, const char *path, const struct timespec times[2], int flags) {
    struct timespec copy[2];
    REAL(int, utimensat, int, const char *, const struct timespec *, int);
    return real(folder, path, true_times(times, copy), flags);
}
