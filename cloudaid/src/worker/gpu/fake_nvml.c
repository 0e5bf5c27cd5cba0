/*
 * A libnvidia-ml for tests on machines without a GPU. What it tells stands in the file `nvml.state` beside the library
 * and is read anew at every call, so that a test changes it while a daemon runs. One line each:
 *
 *   # a comment
 *   driver VERSION
 *   gpu UUID MEMORY_MIB UTILISATION_PERCENT NAME WITH SPACES     (-1 per cent: it does not say)
 *   mig PARENT_UUID UUID MEMORY_MIB COMPUTE_SLICES NAME          (its parent is in MIG mode; 0 slices: it does not say)
 *   ecc UUID COUNT                                               (volatile, not corrected; of others it is not known)
 *   remap UUID pending|failed                                    (rows of its memory; of others it is not known)
 *   lost UUID                                                    (of it nothing is answered)
 *   xid UUID CODE                                                (an event; of a UUID that is no GPU's: of no GPU)
 *
 * Each `xid` line is one event and is delivered once, in their order. Lines up to the last one that was delivered are
 * past, whatever is written there later. Without the file, or with an empty one, there is no driver; a library that is
 * open already takes that for a file that is being written, and goes on with what it knows.
 *
 *   cc -std=c11 -Wall -Wextra -O1 -shared -fPIC fake_nvml.c -o libnvidia-ml.so.1
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of NVML's interface only what is told here; numbers and layouts are those of the real one. */
enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, OUT_OF_MEMORY = 20
};
enum { ERROR_UNCORRECTED = 1, COUNTER_VOLATILE = 0, EVENT_XID = 8, VALUE_UNSIGNED = 1 };
enum { FIELD_REMAP_PENDING = 144, FIELD_REMAP_FAILURE = 145 };
typedef unsigned long long u64;

struct memory { unsigned version; u64 total, reserved, free, used; };
struct utilisation { unsigned gpu, memory; };
struct attributes { unsigned multiprocessors, engines[5], gpu_slices, compute_slices; u64 memory_mib; };
union value { unsigned small; u64 large; };
struct field { unsigned id, scope; long long timestamp, latency; unsigned type, status; union value value; };
struct event { struct device *device; u64 type, data; unsigned gpu_instance, compute_instance; };

enum { DEVICES = 64, MIG_MAX = 7, POLL_MS = 20 };
enum kind { ABSENT = 0, GPU = 1, MIG = 2 };
enum remap { REMAP_UNSAID, REMAP_PENDING, REMAP_FAILED };

/* A handle is the place of a device in the table, and stays; all but the UUID is what the file says now. */
struct device {
    char uuid[96], name[96];
    enum kind kind;
    struct device *parent;
    u64 memory_mib;
    int percent, slices;
    long long ecc; /* Negative: not counted. */
    enum remap remap;
    int is_lost;
};
struct set { char watched[DEVICES]; };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[DEVICES];
static char driver[80];
static unsigned users;
/* The next event, and the line of the last one that was delivered; lines count from 1. */
static struct { unsigned line; struct device *device; u64 code; } xid;
static unsigned delivered;

static struct device *device_of(const char *uuid) {
    for (int i = 0; i < DEVICES; i++) {
        if (!devices[i].uuid[0])
            snprintf(devices[i].uuid, sizeof devices[i].uuid, "%s", uuid);
        if (!strcmp(devices[i].uuid, uuid))
            return &devices[i];
    }
    fprintf(stderr, "fake NVML: there is no room for %s\n", uuid);
    abort();
}

static struct device *nth(unsigned index, enum kind kind, const struct device *parent) {
    for (int i = 0; i < DEVICES; i++)
        if (devices[i].kind == kind && devices[i].parent == parent && index-- == 0)
            return &devices[i];
    return NULL;
}

static void forget(void) {
    for (int i = 0; i < DEVICES; i++) {
        char uuid[sizeof devices[i].uuid];
        memcpy(uuid, devices[i].uuid, sizeof uuid);
        devices[i] = (struct device){ .ecc = -1 };
        memcpy(devices[i].uuid, uuid, sizeof uuid);
    }
    driver[0] = 0;
    xid.line = 0;
}

static void read_line(const char *line, unsigned number) {
    char uuid[96], other[96], name[96] = "", word[16];
    u64 amount;
    long long count;
    int small;
    if (sscanf(line, "gpu %95s %llu %d %95[^\n]", uuid, &amount, &small, name) >= 3) {
        struct device *gpu = device_of(uuid);
        gpu->kind = GPU, gpu->memory_mib = amount, gpu->percent = small;
        memcpy(gpu->name, name, sizeof name);
    } else if (sscanf(line, "mig %95s %95s %llu %d %95[^\n]", other, uuid, &amount, &small, name) >= 4) {
        struct device *slice = device_of(uuid);
        slice->kind = MIG, slice->parent = device_of(other), slice->memory_mib = amount, slice->slices = small;
        memcpy(slice->name, name, sizeof name);
    } else if (sscanf(line, "ecc %95s %lld", uuid, &count) == 2) {
        device_of(uuid)->ecc = count;
    } else if (sscanf(line, "remap %95s %15s", uuid, word) == 2) {
        device_of(uuid)->remap = strcmp(word, "failed") ? REMAP_PENDING : REMAP_FAILED;
    } else if (sscanf(line, "lost %95s", uuid) == 1) {
        device_of(uuid)->is_lost = 1;
    } else if (sscanf(line, "xid %95s %llu", uuid, &amount) == 2) {
        if (!xid.line && number > delivered)
            xid.line = number, xid.device = device_of(uuid), xid.code = amount;
    } else {
        sscanf(line, "driver %79s", driver);
    }
}

/* Whether the file says anything. */
static int load(void) {
    Dl_info self;
    char path[4096], line[512];
    unsigned number = 0;
    if (!dladdr(&lock, &self))
        return 0;
    const char *slash = strrchr(self.dli_fname, '/');
    int directory = slash ? (int)(slash - self.dli_fname) + 1 : 0;
    snprintf(path, sizeof path, "%.*snvml.state", directory, self.dli_fname);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        if (!number++)
            forget();
        read_line(line, number);
    }
    fclose(file);
    return number > 0;
}

/* Every call is between these two, which hold the lock. */
static int asked(void) {
    pthread_mutex_lock(&lock);
    load();
    return users ? SUCCESS : UNINITIALIZED;
}

static int state_of(const struct device *device) {
    if (!device || device->kind == ABSENT)
        return INVALID_ARGUMENT;
    return device->is_lost || (device->parent && device->parent->is_lost) ? GPU_IS_LOST : SUCCESS;
}

/* A call that is for devices of some kinds only. */
static int asked_of(const struct device *device, int kinds) {
    int status = asked();
    status = status ? status : state_of(device);
    return status || device->kind & kinds ? status : NOT_SUPPORTED;
}

static int answered(int status) {
    pthread_mutex_unlock(&lock);
    return status;
}

static int copy(const char *text, char *to, unsigned length) {
    if (strlen(text) >= length)
        return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

/* What a question for a handle ends with: `device` is NULL where there is none. */
static int found(struct device *device, int otherwise, struct device **handle) {
    *handle = device;
    return device && device->kind != ABSENT ? state_of(device) : otherwise;
}

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    int is_there = load();
    users += is_there;
    return answered(is_there ? SUCCESS : DRIVER_NOT_LOADED);
}

int nvmlInit_v2(void) {
    return nvmlInitWithFlags(0);
}

int nvmlShutdown(void) {
    int status = asked();
    users -= !status;
    return answered(status);
}

const char *nvmlErrorString(int status) {
    return status == SUCCESS ? "no error" : "an error of a fake library";
}

int nvmlSystemGetDriverVersion(char *version, unsigned length) {
    int status = asked();
    return answered(status ? status : copy(driver, version, length));
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    int status = asked();
    for (*count = 0; !status && nth(*count, GPU, NULL);)
        ++*count;
    return answered(status);
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, struct device **device) {
    int status = asked();
    return answered(status ? status : found(nth(index, GPU, NULL), INVALID_ARGUMENT, device));
}

int nvmlDeviceGetHandleByUUID(const char *uuid, struct device **device) {
    int status = asked();
    struct device *known = NULL;
    for (int i = 0; !status && i < DEVICES; i++)
        if (!strcmp(devices[i].uuid, uuid))
            known = &devices[i];
    return answered(status ? status : found(known, NOT_FOUND, device));
}

int nvmlDeviceGetUUID(struct device *device, char *uuid, unsigned length) {
    int status = asked_of(device, GPU | MIG);
    return answered(status ? status : copy(device->uuid, uuid, length));
}

int nvmlDeviceGetName(struct device *device, char *name, unsigned length) {
    int status = asked_of(device, GPU | MIG);
    return answered(status ? status : copy(device->name, name, length));
}

int nvmlDeviceGetMemoryInfo_v2(struct device *device, struct memory *memory) {
    int status = asked_of(device, GPU | MIG);
    if (!status)
        memory->total = memory->free = device->memory_mib << 20;
    return answered(status);
}

/* As on real ones, one in MIG mode does not say. */
int nvmlDeviceGetUtilizationRates(struct device *device, struct utilisation *rates) {
    int status = asked_of(device, GPU);
    if (!status && (device->percent < 0 || nth(0, MIG, device)))
        status = NOT_SUPPORTED;
    if (!status)
        rates->gpu = (unsigned)device->percent;
    return answered(status);
}

int nvmlDeviceGetMigMode(struct device *device, unsigned *current, unsigned *pending) {
    int status = asked_of(device, GPU);
    if (!status)
        *current = *pending = nth(0, MIG, device) != NULL;
    return answered(status);
}

int nvmlDeviceGetMaxMigDeviceCount(struct device *device, unsigned *count) {
    int status = asked_of(device, GPU | MIG);
    *count = !status && nth(0, MIG, device) ? MIG_MAX : 0;
    return answered(status);
}

int nvmlDeviceGetMigDeviceHandleByIndex(struct device *device, unsigned index, struct device **slice) {
    int status = asked_of(device, GPU | MIG);
    return answered(status ? status : found(nth(index, MIG, device), NOT_FOUND, slice));
}

int nvmlDeviceGetAttributes_v2(struct device *device, struct attributes *attributes) {
    int status = asked_of(device, MIG);
    if (!status && device->slices <= 0)
        status = NOT_SUPPORTED;
    if (!status) {
        attributes->gpu_slices = attributes->compute_slices = (unsigned)device->slices;
        attributes->memory_mib = device->memory_mib;
    }
    return answered(status);
}

int nvmlDeviceGetTotalEccErrors(struct device *device, int error, int counter, u64 *count) {
    int status = asked_of(device, GPU | MIG);
    if (!status && device->ecc < 0)
        status = NOT_SUPPORTED;
    if (!status)
        *count = error == ERROR_UNCORRECTED && counter == COUNTER_VOLATILE ? (u64)device->ecc : 0;
    return answered(status);
}

int nvmlDeviceGetFieldValues(struct device *device, int count, struct field *fields) {
    int status = asked_of(device, GPU | MIG);
    for (int i = 0; !status && i < count; i++) {
        int is_known = fields[i].id == FIELD_REMAP_PENDING || fields[i].id == FIELD_REMAP_FAILURE;
        enum remap remap = fields[i].id == FIELD_REMAP_PENDING ? REMAP_PENDING : REMAP_FAILED;
        fields[i].status = is_known && device->remap != REMAP_UNSAID ? SUCCESS : NOT_SUPPORTED;
        fields[i].type = VALUE_UNSIGNED;
        fields[i].value.small = device->remap == remap;
    }
    return answered(status);
}

int nvmlDeviceRegisterEvents(struct device *device, u64 types, struct set *set) {
    int status = asked_of(device, GPU);
    if (!status && types != EVENT_XID)
        status = NOT_SUPPORTED;
    if (!status)
        set->watched[device - devices] = 1;
    return answered(status);
}

int nvmlEventSetCreate(struct set **set) {
    int status = asked();
    if (!status && !(*set = calloc(1, sizeof **set)))
        status = OUT_OF_MEMORY;
    return answered(status);
}

int nvmlEventSetFree(struct set *set) {
    free(set);
    return SUCCESS;
}

/* One event, if there is one; those of GPUs that nobody watches are past. */
static int take(const struct set *set, struct event *event) {
    int status = asked();
    while (!status && xid.line) {
        struct device *gpu = xid.device->kind == GPU ? xid.device : NULL;
        delivered = xid.line;
        xid.line = 0;
        if (!gpu || set->watched[gpu - devices]) {
            *event = (struct event){ gpu, EVENT_XID, xid.code, ~0u, ~0u };
            return answered(SUCCESS);
        }
        load();
    }
    return answered(status ? status : TIMEOUT);
}

int nvmlEventSetWait_v2(struct set *set, struct event *event, unsigned timeout_ms) {
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        int status = take(set, event);
        clock_gettime(CLOCK_MONOTONIC, &now);
        long long waited = (now.tv_sec - begun.tv_sec) * 1000LL + (now.tv_nsec - begun.tv_nsec) / 1000000;
        if (status != TIMEOUT || waited >= timeout_ms)
            return status;
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * 1000000L }, NULL);
    }
}
