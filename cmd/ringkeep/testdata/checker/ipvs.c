// Lets a program believe that the kernel has IPVS: its socket options are taken and mean
// nothing. So keepalived's checker runs where there is none, and shows by its scripts what
// it decides.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>

enum { FIRST = 64 + 1024 + 64, LAST = FIRST + 63, INFO = FIRST + 1 }; // linux/ip_vs.h

static int ours(int level, int option) { return level == 0 && option >= FIRST && option <= LAST; }

int getsockopt(int fd, int level, int option, void *value, socklen_t *size) {
  if (!ours(level, option))
    return ((int (*)(int, int, int, void *, socklen_t *))dlsym(RTLD_NEXT, "getsockopt"))(fd, level, option, value, size);
  memset(value, 0, *size);
  if (option == INFO && *size >= 8) {
    ((unsigned *)value)[0] = 0x10201; // version 1.2.1
    ((unsigned *)value)[1] = 4096;
  }
  return 0;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size) {
  if (!ours(level, option))
    return ((int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt"))(fd, level, option, value, size);
  return 0;
}
