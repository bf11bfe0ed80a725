/*
 * A disk that loses power and gets into trouble, and a clock that is wrong: put under the server with LD_PRELOAD.
 *
 * It watches the calls on files below $FAULTY_DIR and has two powers:
 *
 * - It keeps in $FAULTY_SHADOW what a pessimistic disk would have after a power loss at any instant: of a file what it
 *   held at its last fsync, and of a directory the names that it held at its last fsync. The first start takes everything as
 *   synced. As on a disk, contents and names are apart: `file-N` and `directory-N` are what inode N holds, the names in a
 *   directory are links to them (symbolic ones to directories), and `root` is the whole. A name that was synced for what
 *   never was is an empty file or directory.
 *   After a failed sync the system believes that the file is clean, as Linux does: what was not synced stays to be read until
 *   somebody asks the system to forget what it has in memory (`lost-N` stands for such a file), and no later sync writes it.
 * - It makes calls fail or wait, as the words in $FAULTY_CONTROL say, which the test may change at any time.
 *
 * Reads are left alone, as are mappings, which nobody writes through.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* The words of the control file: errors are of errno.h, and 0 is a disk in order. */
enum {
    WRITE_ERROR,   /* of write, pwrite, writev and ftruncate */
    SYNC_ERROR,    /* of fsync and fdatasync */
    CHANGE_ERROR,  /* of creating, opening for writing, renaming and unlinking: a disk that is read-only */
    SYNC_WAITS,    /* not 0: a sync does not begin until this is 0 again */
    FREE_MIB,      /* not 0: the free space, in MiB, less one */
    DIES_AT,       /* not 0: so many syncs from now the process is killed instead of it */
    SYNCS_WAITING, /* told to the test: how many syncs wait */
    BEFORE_1970,   /* not 0: the clock of the machine stands before 1970 */
    WORDS
};
static volatile int *control;

static const char *dir, *shadow;
static size_t dir_len;

/* What has changed in a file since its last sync: the bytes from `from` to `to`, and perhaps its length. */
struct file {
    ino_t inode;
    int is_known; /* 0: anything may have changed, since another process has written it */
    off_t from, to;
    struct file *next;
};
static struct file *files;
/* What is open, by descriptor; directories too. */
#define DESCRIPTORS 65536
static struct file *opened[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    /* Cached by its address, since names are literals. */
    static __thread struct { const char *name; void *call; } cache[64];
    unsigned slot = ((size_t)name >> 2) % 64;
    if (cache[slot].name != name) {
        cache[slot].call = dlsym(RTLD_NEXT, name);
        cache[slot].name = name;
    }
    return cache[slot].call;
}

static int word(int which) { return control ? control[which] : 0; }

static int fails(int which) {
    int error = word(which);
    if (error) errno = error;
    return error;
}

static int is_ours(const char *path) {
    return dir && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == 0);
}

static void die(const char *what, const char *path) {
    fprintf(stderr, "faulty disk: %s %s: %s\n", what, path, strerror(errno));
    _exit(99);
}

/* Where the shadow has what a file or directory holds, under whatever name. */
static char *shadow_of(const struct stat *there, char *place) {
    const char *kind = S_ISDIR(there->st_mode) ? "directory" : "file";
    snprintf(place, PATH_MAX, "%s/%s-%lu", shadow, kind, (unsigned long)there->st_ino);
    return place;
}

static char *lost_mark_of(const struct stat *there, char *place) {
    snprintf(place, PATH_MAX, "%s/lost-%lu", shadow, (unsigned long)there->st_ino);
    return place;
}

static void join(char *path, const char *directory, const char *name) {
    if (snprintf(path, PATH_MAX, "%s/%s", directory, name) >= PATH_MAX) die("too long:", name);
}

/* Copies the bytes of a file between two offsets; holes become holes. In place: a kill loses nothing that was there. */
static void copy_bytes(int source, int target, off_t from, off_t to) {
    static __thread char buffer[1 << 16];
    while (from < to) {
        off_t data = lseek(source, from, SEEK_DATA);
        if (data < 0 || data > to) data = to;
        if (from < data) fallocate(target, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, data - from);
        off_t hole = data < to ? lseek(source, data, SEEK_HOLE) : to;
        off_t end = hole < to ? hole : to;
        for (from = data; from < end;) {
            size_t want = end - from < (off_t)sizeof buffer ? (size_t)(end - from) : sizeof buffer;
            ssize_t count = pread(source, buffer, want, from);
            if (count <= 0) return; /* it has become shorter meanwhile */
            if (REAL(pwrite)(target, buffer, count, from) != count) die("cannot copy to", shadow);
            from += count;
        }
    }
}

/* Brings the shadow of a file up to what it is now. */
static void sync_content(const char *path, struct file *file) {
    char place[PATH_MAX];
    struct stat now;
    int source = REAL(open)(path, O_RDONLY | O_CLOEXEC);
    if (source < 0) die("cannot read", path);
    fstat(source, &now);
    int target = REAL(open)(shadow_of(&now, place), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (target < 0) die("cannot make", place);
    off_t from = file->is_known ? file->from : 0, to = file->is_known ? file->to : now.st_size;
    if (REAL(ftruncate)(target, now.st_size)) die("cannot size", place);
    copy_bytes(source, target, from, to < now.st_size ? to : now.st_size);
    file->is_known = 1;
    file->from = file->to = 0;
    REAL(close)(source);
    REAL(close)(target);
}

/* Makes the names that the shadow of a directory has those that it has now. */
static void sync_names(const char *path) {
    char ours[PATH_MAX], theirs[PATH_MAX], place[PATH_MAX], content[PATH_MAX], draft[PATH_MAX];
    struct stat there, content_there, linked;
    struct dirent *entry;
    if (stat(path, &there)) die("cannot read", path);
    mkdir(shadow_of(&there, place), 0755);
    snprintf(draft, sizeof draft, "%s/draft", shadow);
    DIR *list = opendir(path);
    while (list && (entry = readdir(list))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        join(ours, path, entry->d_name);
        join(theirs, place, entry->d_name);
        if (lstat(ours, &there)) continue;
        shadow_of(&there, content);
        REAL(unlink)(draft);
        if (S_ISDIR(there.st_mode)) {
            mkdir(content, 0755); /* empty until it is synced itself */
            if (symlink(content, draft)) die("cannot link", content);
        } else {
            REAL(close)(REAL(open)(content, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
            if (stat(content, &content_there)) die("cannot make", content);
            if (!lstat(theirs, &linked) && linked.st_ino == content_there.st_ino) continue;
            if (link(content, draft)) die("cannot link", content);
        }
        /* A name changes at one instant, as it does on a disk. */
        if (REAL(rename)(draft, theirs)) die("cannot name", theirs);
    }
    closedir(list);
    list = opendir(place);
    while (list && (entry = readdir(list))) {
        join(ours, path, entry->d_name);
        join(theirs, place, entry->d_name);
        if (lstat(ours, &there)) REAL(unlink)(theirs);
    }
    closedir(list);
}

/* Everything in and below a directory is taken as synced. */
static void sync_all(const char *path) {
    char below[PATH_MAX];
    struct stat there;
    struct dirent *entry;
    sync_names(path);
    DIR *list = opendir(path);
    while (list && (entry = readdir(list))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        join(below, path, entry->d_name);
        if (lstat(below, &there)) continue;
        struct file file = {.inode = there.st_ino};
        if (S_ISDIR(there.st_mode)) sync_all(below);
        else sync_content(below, &file);
    }
    closedir(list);
}

__attribute__((constructor)) static void begin(void) {
    char root[PATH_MAX], place[PATH_MAX];
    struct stat there;
    const char *words = getenv("FAULTY_CONTROL");
    dir = getenv("FAULTY_DIR");
    shadow = getenv("FAULTY_SHADOW");
    if (!dir || !words) return;
    dir_len = strlen(dir);
    int descriptor = REAL(open)(words, O_RDWR | O_CLOEXEC);
    size_t bytes = WORDS * sizeof(int);
    control = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (descriptor < 0 || control == MAP_FAILED) die("cannot read", words);
    REAL(close)(descriptor);
    if (!shadow) return;
    mkdir(shadow, 0755);
    join(root, shadow, "root");
    if (stat(dir, &there)) die("cannot read", dir);
    if (symlink(shadow_of(&there, place), root) == 0) sync_all(dir);
}

/* Remembers what was opened; with the lock. */
static void note_opened(int descriptor, int is_new) {
    struct stat now;
    char place[PATH_MAX];
    if (descriptor >= DESCRIPTORS || fstat(descriptor, &now)) return;
    struct file *file = files;
    while (file && file->inode != now.st_ino) file = file->next;
    if (!file) {
        file = calloc(1, sizeof *file);
        file->inode = now.st_ino;
        file->is_known = shadow && access(lost_mark_of(&now, place), F_OK) == 0;
        file->next = files;
        files = file;
    }
    if (is_new) { /* its number may have been another file's */
        if (shadow) REAL(unlink)(shadow_of(&now, place));
        if (shadow) REAL(unlink)(lost_mark_of(&now, place));
        file->is_known = 1;
        file->from = file->to = 0;
    }
    opened[descriptor] = file;
}

static int open_ours(const char *path, int flags, mode_t mode) {
    struct stat before;
    if ((flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) && fails(CHANGE_ERROR)) return -1;
    pthread_mutex_lock(&lock);
    int is_new = stat(path, &before) != 0;
    int descriptor = REAL(open)(path, flags, mode);
    if (descriptor >= 0) note_opened(descriptor, is_new);
    if (descriptor >= 0 && !is_new && (flags & O_TRUNC)) opened[descriptor]->is_known = 0;
    pthread_mutex_unlock(&lock);
    return descriptor;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = flags & O_CREAT ? va_arg(rest, int) : 0;  \
        va_end(rest);                                           \
        if (is_ours(path)) return open_ours(path, flags, mode); \
        return REAL(name)(path, flags, mode);                   \
    }
OPEN(open)
OPEN(open64)

int close(int descriptor) {
    if (descriptor >= 0 && descriptor < DESCRIPTORS) opened[descriptor] = NULL;
    return REAL(close)(descriptor);
}

static struct file *file_of(int descriptor) {
    return descriptor >= 0 && descriptor < DESCRIPTORS ? opened[descriptor] : NULL;
}

static void note_changed(struct file *file, off_t from, off_t to) {
    pthread_mutex_lock(&lock);
    if (file->from == file->to) {
        file->from = from;
        file->to = to;
    }
    if (from < file->from) file->from = from;
    if (to > file->to) file->to = to;
    pthread_mutex_unlock(&lock);
}

/* After a write at the descriptor's own place, or at the end. */
static ssize_t written(int descriptor, struct file *file, ssize_t count) {
    off_t end = lseek(descriptor, 0, SEEK_CUR);
    if (count > 0) note_changed(file, end - count, end);
    return count;
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    struct file *file = file_of(descriptor);
    if (!file) return REAL(write)(descriptor, bytes, count);
    if (fails(WRITE_ERROR)) return -1;
    return written(descriptor, file, REAL(write)(descriptor, bytes, count));
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    struct file *file = file_of(descriptor);
    if (!file) return REAL(writev)(descriptor, parts, count);
    if (fails(WRITE_ERROR)) return -1;
    return written(descriptor, file, REAL(writev)(descriptor, parts, count));
}

#define PWRITE(name)                                                          \
    ssize_t name(int descriptor, const void *bytes, size_t count, off_t at) { \
        struct file *file = file_of(descriptor);                              \
        if (file && fails(WRITE_ERROR)) return -1;                            \
        ssize_t done = REAL(name)(descriptor, bytes, count, at);              \
        if (file && done > 0) note_changed(file, at, at + done);              \
        return done;                                                          \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define FTRUNCATE(name)                                                     \
    int name(int descriptor, off_t length) {                                \
        struct stat before;                                                 \
        struct file *file = file_of(descriptor);                            \
        if (file && fails(WRITE_ERROR)) return -1;                          \
        if (file && !fstat(descriptor, &before) && length < before.st_size) \
            note_changed(file, length, before.st_size);                     \
        return REAL(name)(descriptor, length);                              \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

/* A sync has failed. */
static void lose(int descriptor, struct file *file) {
    struct stat now;
    char place[PATH_MAX];
    int error = errno;
    if (!shadow || fstat(descriptor, &now) || S_ISDIR(now.st_mode)) return;
    pthread_mutex_lock(&lock);
    REAL(close)(REAL(open)(lost_mark_of(&now, place), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    file->is_known = 1;
    file->from = file->to = 0;
    pthread_mutex_unlock(&lock);
    errno = error;
}

/* The system forgets what it has of a file in memory: what was lost reads as what is on the disk. */
static void forget(int descriptor) {
    struct stat now;
    char mark[PATH_MAX], place[PATH_MAX], path[64];
    if (!shadow || !file_of(descriptor) || fstat(descriptor, &now)) return;
    if (REAL(unlink)(lost_mark_of(&now, mark))) return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    int source = REAL(open)(shadow_of(&now, place), O_RDONLY | O_CLOEXEC);
    int target = REAL(open)(path, O_RDWR | O_CLOEXEC);
    if (source < 0 || target < 0) die("cannot forget", place);
    copy_bytes(source, target, 0, now.st_size);
    REAL(close)(source);
    REAL(close)(target);
}

#define FADVISE(name)                                                   \
    int name(int descriptor, off_t from, off_t length, int advice) {    \
        if (advice == POSIX_FADV_DONTNEED) forget(descriptor);          \
        return REAL(name)(descriptor, from, length, advice);            \
    }
FADVISE(posix_fadvise)
FADVISE(posix_fadvise64)

#define SYNC(name)                                                                         \
    int name(int descriptor) {                                                             \
        struct stat now;                                                                   \
        struct file *file = file_of(descriptor);                                           \
        if (!file) return REAL(name)(descriptor);                                          \
        if (word(SYNC_WAITS)) {                                                            \
            __sync_fetch_and_add(&control[SYNCS_WAITING], 1);                              \
            while (word(SYNC_WAITS)) usleep(1000);                                         \
            __sync_fetch_and_sub(&control[SYNCS_WAITING], 1);                              \
        }                                                                                  \
        if (word(DIES_AT) && !__sync_sub_and_fetch(&control[DIES_AT], 1)) raise(SIGKILL);  \
        if (fails(SYNC_ERROR)) {                                                           \
            lose(descriptor, file);                                                        \
            return -1;                                                                     \
        }                                                                                  \
        int done = REAL(name)(descriptor);                                                 \
        pthread_mutex_lock(&lock);                                                         \
        if (done == 0 && shadow && !fstat(descriptor, &now)) {                             \
            char path[64]; /* it may have been renamed since it was opened */              \
            snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);                   \
            if (S_ISDIR(now.st_mode)) sync_names(path);                                    \
            else sync_content(path, file);                                                 \
        }                                                                                  \
        pthread_mutex_unlock(&lock);                                                       \
        return done;                                                                       \
    }
SYNC(fsync)
SYNC(fdatasync)

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    if (clock == CLOCK_REALTIME && word(BEFORE_1970)) now->tv_sec = -1;
    return done;
}

int rename(const char *from, const char *to) {
    if (is_ours(from) && fails(CHANGE_ERROR)) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (is_ours(path) && fails(CHANGE_ERROR)) return -1;
    return REAL(unlink)(path);
}

#define STATVFS(name, type)                                                   \
    int name(const char *path, struct type *disk) {                           \
        int done = REAL(name)(path, disk);                                    \
        if (done == 0 && is_ours(path) && word(FREE_MIB))                     \
            disk->f_bavail = (word(FREE_MIB) - 1) * (1048576 / disk->f_frsize); \
        return done;                                                          \
    }
STATVFS(statvfs, statvfs)
STATVFS(statvfs64, statvfs64)
