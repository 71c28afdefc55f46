/* Waits until a second from now, in each way that our parts wait, and prints what a monotonic clock says of each. */
#include <pthread.h>
#include <stdio.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

static double monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

int main(void) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t told = PTHREAD_COND_INITIALIZER;
    cnd_t c11_told;
    mtx_t c11_lock;
    cnd_init(&c11_told);
    mtx_init(&c11_lock, mtx_plain);
    pthread_mutex_lock(&lock);
    mtx_lock(&c11_lock);
    struct timespec deadline;
    struct timeval now;

    double begun = monotonic();
    timespec_get(&deadline, TIME_UTC);
    deadline.tv_sec += 1;
    cnd_timedwait(&c11_told, &c11_lock, &deadline);
    printf("%f\n", monotonic() - begun);

    begun = monotonic();
    gettimeofday(&now, NULL);
    deadline = (struct timespec){.tv_sec = now.tv_sec + 1, .tv_nsec = now.tv_usec * 1000};
    pthread_cond_timedwait(&told, &lock, &deadline);
    printf("%f\n", monotonic() - begun);

    begun = monotonic();
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += 1;
    pthread_cond_clockwait(&told, &lock, CLOCK_MONOTONIC, &deadline);
    printf("%f\n", monotonic() - begun);
    return 0;
}
