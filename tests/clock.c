// Sets the wall clock of a process that preloads this, and of all that it starts: TEST_CLOCK_AHEAD_S seconds from the machine's.
//
// Programs read the clock in the vDSO, some without libc (chDB has its own), so its functions are replaced, not those of libc.
// The kernel knows only the machine's time: waits until a moment of the wall clock are given that. Clocks that measure spans stay as they are.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#ifndef __x86_64__
#error "the test clock is written for x86-64 only"
#endif

#define NEVER_SINCE_BOOT_S 1000000000  // a later moment is one of the wall clock

static time_t ahead_s;

static long kernel(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

static int read_clock(clockid_t clock, struct timespec *now)
{
    long result = kernel(SYS_clock_gettime, clock, (long)now, 0, 0, 0, 0);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += ahead_s;
    return result;
}

static int read_day_time(struct timeval *now, void *zone)
{
    long result = kernel(SYS_gettimeofday, (long)now, (long)zone, 0, 0, 0, 0);
    if (!result && now)
        now->tv_sec += ahead_s;
    return result;
}

static time_t read_seconds(time_t *out)
{
    time_t now = kernel(SYS_time, 0, 0, 0, 0, 0, 0) + ahead_s;
    if (out)
        *out = now;
    return now;
}

static void fail(const char *what)
{
    perror(what);
    abort();
}

static void make_writable(void)
{
    char line[256];
    unsigned long begin, end;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        if (strstr(line, "[vdso]") && sscanf(line, "%lx-%lx", &begin, &end) == 2) {
            if (mprotect((void *)begin, end - begin, PROT_READ | PROT_WRITE | PROT_EXEC))  // in part, it is refused
                fail("the test clock: the vDSO cannot be written");
            fclose(maps);
            return;
        }
    }
    fail("the test clock: there is no vDSO");
}

static void replace(void *vdso, const char *name, void *by)
{
    unsigned char jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};  // movabs $by, %rax; jmp *%rax
    void *at = dlsym(vdso, name);
    if (!at)
        fail(name);
    memcpy(jump + 2, &by, sizeof by);
    memcpy(at, jump, sizeof jump);
}

__attribute__((constructor)) static void set_clock(void)
{
    const char *ahead = getenv("TEST_CLOCK_AHEAD_S");
    void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (!ahead || !vdso)
        fail("the test clock: there is no vDSO, or no TEST_CLOCK_AHEAD_S");
    ahead_s = atol(ahead);
    make_writable();
    replace(vdso, "__vdso_clock_gettime", read_clock);
    replace(vdso, "__vdso_gettimeofday", read_day_time);
    replace(vdso, "__vdso_time", read_seconds);
}

static const struct timespec *machine_time(const struct timespec *until, struct timespec *changed)
{
    if (!until || until->tv_sec < NEVER_SINCE_BOOT_S)
        return until;
    *changed = *until;
    changed->tv_sec -= ahead_s;
    return changed;
}

static void *original(const char *name)
{
    void *newest = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");  // of condition variables there is an older one, of another layout
    return newest ? newest : dlsym(RTLD_NEXT, name);
}

#define WAIT(name, parameters, ...)                                    \
    int name parameters                                                \
    {                                                                  \
        static int(*wait) parameters;                                  \
        struct timespec changed;                                       \
        if (!wait)                                                     \
            wait = original(#name);                                    \
        return wait(__VA_ARGS__);                                      \
    }
#define UNTIL machine_time(until, &changed)

WAIT(pthread_cond_timedwait, (pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until), cond, mutex, UNTIL)
WAIT(pthread_cond_clockwait, (pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until), cond, mutex, clock, UNTIL)
WAIT(cnd_timedwait, (cnd_t *cond, mtx_t *mutex, const struct timespec *until), cond, mutex, UNTIL)  // librdkafka's
WAIT(mtx_timedlock, (mtx_t *mutex, const struct timespec *until), mutex, UNTIL)
WAIT(pthread_mutex_timedlock, (pthread_mutex_t *mutex, const struct timespec *until), mutex, UNTIL)
WAIT(pthread_mutex_clocklock, (pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until), mutex, clock, UNTIL)
WAIT(pthread_rwlock_timedrdlock, (pthread_rwlock_t *lock, const struct timespec *until), lock, UNTIL)
WAIT(pthread_rwlock_timedwrlock, (pthread_rwlock_t *lock, const struct timespec *until), lock, UNTIL)
WAIT(sem_timedwait, (sem_t *sem, const struct timespec *until), sem, UNTIL)
WAIT(sem_clockwait, (sem_t *sem, clockid_t clock, const struct timespec *until), sem, clock, UNTIL)
WAIT(clock_nanosleep, (clockid_t clock, int flags, const struct timespec *until, struct timespec *left), clock, flags,
     flags & TIMER_ABSTIME ? UNTIL : until, left)

int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old)
{
    struct itimerspec changed = *new;
    machine_time(&new->it_value, &changed.it_value);
    long result = kernel(SYS_timerfd_settime, fd, flags, (long)(flags & TFD_TIMER_ABSTIME ? &changed : new), (long)old, 0, 0);
    errno = result < 0 ? -result : errno;
    return result < 0 ? -1 : result;
}

long syscall(long number, ...)
{
    struct timespec changed;
    va_list rest;
    va_start(rest, number);
    long a[6];
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(rest, long);
    va_end(rest);
    if (number == SYS_futex && a[1] & FUTEX_CLOCK_REALTIME)
        a[3] = (long)machine_time((void *)a[3], &changed);
    long result = kernel(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    if (result < 0 && result > -4096) {
        errno = -result;
        return -1;
    }
    if (!result && number == SYS_clock_gettime && (a[0] == CLOCK_REALTIME || a[0] == CLOCK_REALTIME_COARSE))
        ((struct timespec *)a[1])->tv_sec += ahead_s;
    return result;
}
