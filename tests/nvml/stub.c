/* NVIDIA's management library as far as ftk calls it, for machines without a card.
 *
 * What it tells stands in the file that $FTK_NVML_STUB names, which is read again at every call, so that cards can
 * fall off and come back. A line is a word and fields, with '|' between them:
 *
 *   driver|version=580.65.06|cuda=13000
 *   gpu|name=Tesla T4|uuid=GPU-0|total=16|used=1|major=7|minor=5|busy=40|power=30000|limit=70000|heat=50|mig=0
 *   slice|of=0|name=...|uuid=MIG-0|total=...|used=...        an instance of gpu 0
 *   process|of=0|pid=17|used=5000                             of a card or slice; pid=self is the caller
 *   error|in=nvmlInitWithFlags|code=18                        what a function returns
 *   error|in=nvmlDeviceGetPowerUsage|gpu=1|code=3             the same for one card only
 *   lost|gpu=0|after=30                                       every call with that card, after so many calls of all
 *   hang|in=nvmlDeviceGetMemoryInfo                           a function that never returns
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define MOST 64

enum { SUCCESS, UNINITIALIZED, INVALID, NOT_SUPPORTED, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15, UNKNOWN = 999 };

typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } busy_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int instance, compute; } process_t;

static char lines[MOST * 4][512];
static int count, opened, calls;
static char handles[MOST];          /* a handle is the address of its card's place here */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static const char *text(const char *line, const char *key) {
    static _Thread_local char found[4][256];
    static _Thread_local int next;
    char *value = found[next = (next + 1) % 4], wanted[64];
    snprintf(wanted, sizeof wanted, "|%s=", key);
    const char *begin = strstr(line, wanted);
    if (!begin) return "";
    begin += strlen(wanted);
    size_t length = strcspn(begin, "|\n");
    snprintf(value, 256, "%.*s", (int)length, begin);
    return value;
}

static long long number(const char *line, const char *key, long long otherwise) {
    const char *value = text(line, key);
    return *value ? strtoll(value, NULL, 10) : otherwise;
}

static int is(const char *line, const char *word) {
    size_t length = strlen(word);
    return !strncmp(line, word, length) && (line[length] == '|' || line[length] == '\n' || !line[length]);
}

static void load(void) {
    const char *path = getenv("FTK_NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    count = 0;
    while (file && count < MOST * 4 && fgets(lines[count], sizeof lines[0], file)) count++;
    if (file) fclose(file);
}

/* The line of the nth card; slices are counted after all whole cards. */
static const char *card(int wanted) {
    const char *words[] = {"gpu", "slice"};
    int number = 0;
    for (int word = 0; word < 2; word++)
        for (int at = 0; at < count; at++)
            if (is(lines[at], words[word]) && number++ == wanted) return lines[at];
    return NULL;
}

static int wholes(void) {
    int found = 0;
    for (int at = 0; at < count; at++) found += is(lines[at], "gpu");
    return found;
}

/* What a function is to return before it does anything; `gpu` is -1 where it is about no card. */
static int verdict(const char *function, int gpu) {
    int code = opened || !strcmp(function, "nvmlInitWithFlags") ? SUCCESS : UNINITIALIZED;
    calls++;
    for (int at = 0; at < count; at++) {
        const char *line = lines[at];
        int here = number(line, "gpu", gpu) == gpu;
        if (is(line, "error") && !strcmp(text(line, "in"), function) && here) code = (int)number(line, "code", UNKNOWN);
        if (is(line, "lost") && gpu >= 0 && here && calls > number(line, "after", 0)) code = LOST;
        if (is(line, "hang") && !strcmp(text(line, "in"), function)) {
            pthread_mutex_unlock(&turn);
            for (;;) pause();
        }
    }
    return code;
}

#define BEGIN(gpu)                                  \
    pthread_mutex_lock(&turn);                      \
    load();                                         \
    int code = verdict(__func__, gpu);              \
    const char *line = (gpu) >= 0 ? card(gpu) : ""; \
    if (!line && !code) code = INVALID;
#define END                        \
    pthread_mutex_unlock(&turn);   \
    return code;
#define CARD ((int)((char *)handle - handles))

API int stub_open(void) { return opened; }
API int stub_calls(void) { return calls; }

API int nvmlInitWithFlags(unsigned int flags) {
    BEGIN(-1 + 0 * (int)flags)
    if (!code) opened++;
    END
}

API int nvmlShutdown(void) {
    BEGIN(-1)
    if (!code) opened--;
    END
}

API const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "Unknown Error"; }

API int nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    BEGIN(-1)
    for (int at = 0; at < count && !code; at++)
        if (is(lines[at], "driver")) snprintf(version, length, "%s", text(lines[at], "version"));
    END
}

API int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    BEGIN(-1)
    *version = 0;
    for (int at = 0; at < count && !code; at++)
        if (is(lines[at], "driver")) *version = (int)number(lines[at], "cuda", 0);
    if (!code && !*version) code = NOT_SUPPORTED;
    END
}

API int nvmlDeviceGetCount_v2(unsigned int *found) {
    BEGIN(-1)
    *found = (unsigned int)wholes();
    END
}

API int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    BEGIN((int)index)
    if (!code && (int)index >= wholes()) code = INVALID;
    *handle = &handles[index % MOST];
    END
}

API int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned int length) {
    BEGIN(CARD)
    if (!code) snprintf(uuid, length, "%s", text(line, "uuid"));
    END
}

API int nvmlDeviceGetName(void *handle, char *name, unsigned int length) {
    BEGIN(CARD)
    if (!code) snprintf(name, length, "%s", text(line, "name"));
    END
}

API int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
    BEGIN(CARD)
    if (!code) {
        memory->total = (unsigned long long)number(line, "total", 0);
        memory->used = (unsigned long long)number(line, "used", 0);
        memory->free = memory->total - memory->used;
        if (!memory->total) code = NOT_SUPPORTED;
    }
    END
}

API int nvmlDeviceGetCudaComputeCapability(void *handle, int *major, int *minor) {
    BEGIN(CARD)
    if (!code) *major = (int)number(line, "major", 0), *minor = (int)number(line, "minor", 0);
    END
}

/* One figure of a whole card; slices have no sensors, and a card that is cut no utilisation. */
static int figure(const char *line, int code, const char *key, unsigned int *value) {
    if (code) return code;
    if (is(line, "slice")) return INVALID;
    long long found = number(line, key, -1);
    if (found < 0) return NOT_SUPPORTED;
    *value = (unsigned int)found;
    return SUCCESS;
}

API int nvmlDeviceGetUtilizationRates(void *handle, busy_t *busy) {
    BEGIN(CARD)
    busy->memory = 0;
    code = figure(line, code, "busy", &busy->gpu);
    END
}

API int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    BEGIN(CARD)
    code = figure(line, code, "power", milliwatts);
    END
}

API int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned int *milliwatts) {
    BEGIN(CARD)
    code = figure(line, code, "limit", milliwatts);
    END
}

API int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned int *degrees) {
    BEGIN(CARD)
    code = sensor ? INVALID : figure(line, code, "heat", degrees);
    END
}

API int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    BEGIN(CARD)
    if (!code && !*text(line, "mig")) code = NOT_SUPPORTED;
    if (!code) *current = *pending = (unsigned int)number(line, "mig", 0);
    END
}

API int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned int *most) {
    BEGIN(CARD)
    *most = 7;
    END
}

API int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned int index, void **slice) {
    int gpu = CARD;
    BEGIN(gpu)
    int at = wholes(), seen = 0, found = 0;
    for (const char *part; !code && (part = card(at)); at++)
        if (number(part, "of", -1) == gpu && seen++ == (int)index) {
            *slice = &handles[at];
            found = 1;
            break;
        }
    if (!code && !found) code = NOT_FOUND;
    END
}

API int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *length, process_t *processes) {
    int gpu = CARD;
    unsigned int found = 0;
    BEGIN(gpu)
    for (int at = 0; at < count && !code; at++) {
        const char *entry = lines[at];
        if (!is(entry, "process") || number(entry, "of", -1) != gpu) continue;
        if (processes && found < *length) {
            const char *pid = text(entry, "pid");
            processes[found].pid = strcmp(pid, "self") ? (unsigned int)atoi(pid) : (unsigned int)getpid();
            processes[found].used = (unsigned long long)number(entry, "used", -1);
            processes[found].instance = processes[found].compute = 0xFFFFFFFF;
        }
        found++;
    }
    if (!code && found > *length) code = TOO_SMALL;
    if (!code || code == TOO_SMALL) *length = found;
    END
}
