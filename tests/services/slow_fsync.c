/* Holds every fsync and fdatasync of a process back while a file is there, and writes down when each began and ended.
 * For LD_PRELOAD. SLOW_FSYNC_GATE names the file, SLOW_FSYNC_TRACE takes lines "begin|end pid path"; SLOW_FSYNC_ONLY is a
 * part of the paths that are held back, all are if it is not there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note(const char *what, const char *path)
{
    char line[PATH_MAX + 64];
    const char *trace = getenv("SLOW_FSYNC_TRACE");
    int out = trace ? open(trace, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (out < 0)
        return;
    int length = snprintf(line, sizeof line, "%s %d %s\n", what, (int)getpid(), path);
    if (write(out, line, (size_t)length) != length)
        abort();
    close(out);
}

static int held_back(const char *name, int fd)
{
    char link[64], path[PATH_MAX];
    const char *gate = getenv("SLOW_FSYNC_GATE"), *only = getenv("SLOW_FSYNC_ONLY");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = '\0';
    note("begin", path);
    if (only && !strstr(path, only))
        gate = NULL;
    while (gate && access(gate, F_OK) == 0)
        usleep(5000);
    int result = real(fd);
    note("end", path);
    return result;
}

int fsync(int fd)
{
    return held_back("fsync", fd);
}

int fdatasync(int fd)
{
    return held_back("fdatasync", fd);
}
