/* The C interface of Stem: libstem-c.so.1, for C and for whatever can call C. C99 and later, and C++.
 *
 * Handles are opaque: what a function makes, its partner ends. Nothing is thrown across this boundary.
 * Sizes are given beside every pointer to bytes; a `const char *` is a text that ends with a zero byte,
 * UTF-8, and a null one is "not given". Times are nanoseconds in int64_t.
 *
 * Errors: a function that can fail returns STEM_OK or another enum stem_code, and writes the same code and a
 * sentence for people into the caller's stem_error (which may be null). It is the caller's memory rather than
 * the thread's, so a language that moves its calls between threads reads the right one, and there is nothing
 * to free. What a failed function would have made is null or untouched.
 *
 * Structs of options begin with their size: zero the struct, set `size = sizeof it`, then what you want. Zero
 * is the default everywhere; where zero is a wish of its own, a bit of `given` says that it is one. A struct of
 * an older program is filled up with defaults; one of a newer program is refused if it asks for what this
 * library does not know, by a field, a bit of `given`, or what is `reserved`.
 *
 * Threads: a stem_client may be used from many threads at once, each attaches to the segment on first use. A
 * stem_result and a stem_buffer are never changed after they were made. A stem_worker belongs to one thread, a
 * stem_task to the handler's call and its thread. After a fork a client goes on working in both processes.
 *
 * Symbols carry the version STEM_C_1; within it functions are added, never changed or taken away. */
#ifndef STEM_STEM_H
#define STEM_STEM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is loaded, as "0.1.0". */
const char* stem_version(void);

/* ---- Errors */

enum stem_code {
  STEM_OK = 0,
  STEM_INVALID_ARGUMENT = 1, /* a value of the caller's is out of range or does not parse */
  STEM_NOT_FOUND = 2,        /* no such segment, queue, task */
  STEM_NOT_READY = 3,        /* the segment is still being made */
  STEM_WRONG_VERSION = 4,    /* the segment was made by another layout version */
  STEM_WRONG_SIGNATURE = 5,  /* same version, other sizes or features */
  STEM_WRONG_OWNER = 6,      /* the segment belongs to another user */
  STEM_TRUNCATED = 7,        /* the segment's file is shorter than its header says */
  STEM_CORRUPT = 8,          /* a value in the segment is impossible */
  STEM_TOO_LARGE = 9,        /* payload or name beyond its limit */
  STEM_FULL = 10,            /* the segment or the queue has no room */
  STEM_NO_MEMORY = 11,       /* /dev/shm or this process has no room */
  STEM_DUPLICATE = 12,       /* a unique task is there already */
  STEM_TIMEOUT = 13,         /* a deadline has passed */
  STEM_NOT_DURABLE = 14,     /* the queue's tasks go to the journal, and the journal takes none now */
  STEM_REFUSED = 15,         /* not in this state */
  STEM_SYSTEM = 16,          /* a system call failed; the message names it */
  STEM_STOPPED = 17          /* somebody asked to stop; nothing went wrong */
};

typedef struct stem_error {
  int32_t code;       /* enum stem_code */
  char message[1020]; /* cut if longer; empty with STEM_OK */
} stem_error;

/* "full", "timed-out", ...; "unknown" for a number that is no code. Never null. */
const char* stem_code_name(int32_t code);

/* ---- Bytes */

typedef struct stem_bytes {
  const void* data; /* may be null when size is 0 */
  size_t size;
} stem_bytes;

/* Bytes that the library made. stem_buffer_free(NULL) does nothing. */
typedef struct stem_buffer stem_buffer;
stem_bytes stem_buffer_bytes(const stem_buffer* buffer);
void stem_buffer_free(stem_buffer* buffer);

/* JSON, and what tasks carry for it: a string its own bytes, everything else MessagePack, exactly as
 * `stem enqueue --args` and the C++ types with to_json have it. */
int stem_json_to_payload(const char* json, size_t json_size, stem_buffer** payload, stem_error* error);
/* The other way, for payloads and results: "null" for no bytes at all, numbers that C++ stored in place as
 * numbers, MessagePack as what it says, other UTF-8 text as a string. STEM_INVALID_ARGUMENT for bytes that are
 * none of these. A text of two or three bytes can look like a number in MessagePack: who knows that it is
 * a text reads the bytes themselves. */
int stem_payload_to_json(const void* payload, size_t payload_size, stem_buffer** json, stem_error* error);

/* ---- Clients */

typedef struct stem_client stem_client;

typedef struct stem_client_options {
  size_t size;
  const char* name_space;        /* null: $STEM_NAMESPACE, else "stem" */
  const char* directory;         /* null: $STEM_SHM_DIRECTORY, else /dev/shm/stem-UID */
  int32_t must_exist;            /* 1: STEM_NOT_FOUND instead of a new segment */
  uint32_t task_capacity;        /* of a new segment; 0 = the default, here and below */
  uint32_t participant_capacity; /* threads and processes that may be attached at once */
  uint32_t reserved;
  uint64_t payload_capacity_bytes;
} stem_client_options;

/* `options` may be null, here and everywhere: all defaults. */
int stem_client_open(const stem_client_options* options, stem_client** client, stem_error* error);
/* No other thread may be in a call of this client. Null does nothing. */
void stem_client_close(stem_client* client);
/* Removes a namespace and everything in it. What is attached goes on with a segment that nobody else finds. */
int stem_destroy(const char* name_space, const char* directory, stem_error* error);

/* ---- Enqueue */

typedef struct stem_id {
  char text[32]; /* as `stem task show` takes it; ends with a zero byte */
} stem_id;

typedef struct stem_header {
  const char* name;
  const char* value;
} stem_header;

/* A task that follows another. */
typedef struct stem_link {
  const char* task;
  const char* queue;
  stem_bytes payload;
  int32_t priority;
  int32_t max_retries; /* -1 = the default; below it is refused */
  int32_t keep_result; /* 1: for a day */
  int32_t reserved;
} stem_link;

/* What zero cannot say: the first three of an enqueue, the others of a worker. */
enum stem_given {
  STEM_GIVEN_MAX_RETRIES = 1 << 0,
  STEM_GIVEN_RESULT_TTL = 1 << 1,
  STEM_GIVEN_FULL_TIMEOUT = 1 << 2,
  STEM_GIVEN_SPIN = 1 << 3,
  STEM_GIVEN_DRAIN_TIMEOUT = 1 << 4,
  STEM_GIVEN_SOFT_GRACE = 1 << 5
};

enum stem_retry { STEM_RETRY_EXPONENTIAL = 0, STEM_RETRY_LINEAR = 1, STEM_RETRY_CONSTANT = 2 };

typedef struct stem_enqueue_options {
  size_t size;
  uint32_t given;      /* enum stem_given */
  int32_t priority;    /* 0 to 9, larger first */
  int32_t max_retries; /* STEM_GIVEN_MAX_RETRIES; else $STEM_DEFAULT_MAX_RETRIES, else 3 */
  int32_t unique;      /* 1: a duplicate gets the holder's id and makes nothing */
  const char* queue;   /* null: $STEM_DEFAULT_QUEUE, else "default" */
  int64_t delay_ns;
  int64_t eta_ns;          /* nanoseconds since 1970, UTC; not negative; not together with delay_ns */
  int64_t expires_ns;      /* from now: not started after it */
  int64_t result_ttl_ns;   /* STEM_GIVEN_RESULT_TTL, 0 keeps none; else one day */
  int64_t full_timeout_ns; /* STEM_GIVEN_FULL_TIMEOUT: how long to wait for room; else as the queue has it */
  const stem_header* headers;
  size_t header_count;
  const char* meta;       /* a JSON object */
  const char* unique_key; /* instead of the payload; implies `unique` */
  int64_t unique_for_ns;  /* 0 = the visibility timeout */
  const char* idempotency_key;
  const char* affinity_key;
  int64_t visibility_timeout_ns; /* 0 = 30 s */
  int64_t soft_time_limit_ns;
  int64_t hard_time_limit_ns;
  const char* rate_limit; /* "N/s", "N/m", "N/h" */
  const char* group_rate_limit;
  const char* group_rate_key;
  const char* group_rate_key_header; /* null: "tenant" */
  const char* concurrency_key;
  int32_t concurrency_limit;
  int32_t limits_fail_closed; /* 1: a limit kept with other hosts that cannot be asked for makes it wait */
  int32_t no_auto_renew;      /* 1: the lease ends by the clock although the worker lives */
  int32_t retry;              /* enum stem_retry */
  int64_t retry_base_ns;      /* 0 = 2 s */
  int64_t retry_max_ns;       /* 0 = 5 min */
  const char* retry_for;      /* error kinds, comma separated; null: all */
  const char* no_retry_for;
  const stem_link* links; /* after success */
  size_t link_count;
  const stem_link* error_links; /* after final failure */
  size_t error_link_count;
} stem_enqueue_options;

typedef struct stem_enqueued {
  stem_id id;
  int32_t duplicate; /* 1: the id is the holder's, nothing was made */
} stem_enqueued;

int stem_enqueue(stem_client* client, const char* task, const void* payload, size_t payload_size,
                 const stem_enqueue_options* options, stem_enqueued* enqueued, stem_error* error);
/* One visit for many. `enqueued` has room for all; `*done` says how many were accepted, also on an error: the
 * first that was refused stands at that index, and it and all behind it were not enqueued. */
int stem_enqueue_many(stem_client* client, const char* task, const stem_bytes* payloads, size_t payload_count,
                      const stem_enqueue_options* options, stem_enqueued* enqueued, size_t* done, stem_error* error);

/* ---- A task that was enqueued, by its id */

enum stem_state {
  STEM_QUEUED = 0,
  STEM_DELAYED = 1,
  STEM_RUNNING = 2,
  STEM_SUCCEEDED = 3,
  STEM_RETRIED = 4,   /* failed, and waits for its next attempt */
  STEM_CANCELLED = 5, /* revoked, expired, discarded, or dropped by an overflow policy */
  STEM_DEAD = 6,      /* failed for good; in the dead-letter queue */
  STEM_GONE = 7       /* over, and nothing was kept of it, or it never was here */
};
/* "queued", ...; "unknown" for another number. Never null. */
const char* stem_state_name(int32_t state);

int stem_state(stem_client* client, const char* id, int32_t* state, stem_error* error);

/* How a task ended. The texts and bytes live as long as the result. */
typedef struct stem_result stem_result;
/* Until the task is over; STEM_TIMEOUT when it is not within the time. INT64_MAX waits for ever. */
int stem_wait(stem_client* client, const char* id, int64_t timeout_ns, stem_result** result, stem_error* error);
int32_t stem_result_state(const stem_result* result); /* SUCCEEDED, CANCELLED, DEAD or GONE */
stem_bytes stem_result_value(const stem_result* result);
const char* stem_result_error_kind(const stem_result* result); /* empty when there is none */
const char* stem_result_error_message(const stem_result* result);
void stem_result_free(stem_result* result);

/* What a running task last said of itself. `fraction` is below 0 when it does not run or has said nothing;
 * `data` (may be null) then is null, too. */
int stem_progress(stem_client* client, const char* id, double* fraction, stem_buffer** data, stem_error* error);

/* Cancels it if it has not started; `terminate`: if it runs, it is asked to stop. `met` (may be null) gets the
 * state it was met in. STEM_REFUSED when it was over already. */
int stem_revoke(stem_client* client, const char* id, int32_t terminate, int32_t* met, stem_error* error);

/* ---- Events: what happens to tasks, workers and queues (docs/events.md) */

typedef struct stem_events stem_events;

typedef struct stem_event {
  size_t size;        /* set by the caller */
  const char* name;   /* "task-retry" */
  const char* id;     /* of its task; empty when it is of none; the same of `task` and `queue` */
  const char* task;   /* its name */
  const char* queue;
  const char* by;     /* the participant who noted it: a worker process, a client */
  const char* text;   /* what went wrong; a worker's name; a traceparent */
  const char* reason; /* of task-failed: as `stem dlq list` has it */
  int64_t at_ns;      /* nanoseconds since 1970, UTC */
  uint32_t attempt;   /* from 0 */
  int32_t reserved;
  int64_t value; /* a duration in nanoseconds, or a number */
} stem_event;

/* Of every process of a namespace (null: as for a client), from now on. While it is read at least every three seconds,
 * what every task does is noted, too; with `steps` = 1 each step of it. STEM_NOT_FOUND when there is no such segment.
 * One thread. */
int stem_events_follow(const char* name_space, const char* directory, int32_t steps, stem_events** events,
                       stem_error* error);
/* The next one; its texts live until the next call. STEM_TIMEOUT when nothing happens within the time. */
int stem_events_next(stem_events* events, int64_t timeout_ns, stem_event* event, stem_error* error);
/* Events that were overwritten before they were read. */
uint64_t stem_events_missed(const stem_events* events);
void stem_events_close(stem_events* events);

/* ---- Workers */

typedef struct stem_worker stem_worker;

typedef struct stem_worker_options {
  size_t size;
  uint32_t given;         /* enum stem_given */
  uint32_t concurrency;   /* worker processes; 0 = one for each core */
  const char* name_space; /* as for a client */
  const char* directory;
  const char* queues;                    /* comma separated; null: $STEM_WORKER_QUEUES, else the default queue */
  const char* node;                      /* null: the host's name */
  const char* pin;                       /* "auto" (null), "none", or cores as in "0-3,8" */
  uint32_t prefetch_multiplier;          /* 0: $STEM_PREFETCH_MULTIPLIER, else 2 */
  uint32_t autoscale_min, autoscale_max; /* both 0 = off */
  int32_t quiet;                         /* 1: no banner */
  uint64_t max_tasks_per_child;          /* 0 = no limit */
  uint64_t max_memory_per_child_bytes;
  int64_t spin_ns;          /* STEM_GIVEN_SPIN; else 50 us */
  int64_t drain_timeout_ns; /* STEM_GIVEN_DRAIN_TIMEOUT; else 60 s */
  int64_t soft_grace_ns;    /* STEM_GIVEN_SOFT_GRACE; else 30 s */
} stem_worker_options;

/* What a handler is called with: the task, and where it says how that went. */
typedef struct stem_task stem_task;

/* Says one of stem_task_succeed() ... stem_task_refuse_payload() before it returns; the last one counts. One that says
 * nothing has failed: so nothing is lost when a binding's call breaks off half way. Must not longjmp out. */
typedef void (*stem_handler)(stem_task* task, void* context);

/* Checks the options; the segment is opened, or made, by stem_worker_run(). */
int stem_worker_open(const stem_worker_options* options, stem_worker** worker, stem_error* error);
/* The same name again replaces. */
int stem_worker_on(stem_worker* worker, const char* task, stem_handler handler, void* context, stem_error* error);
/* Forks the worker processes and supervises them until it is told to stop (SIGTERM, SIGINT, SIGQUIT,
 * `stem worker shutdown`). Handlers are called in those processes, one task at a time in each, on the thread that
 * is the copy of the calling one, and never in the calling process: it stays small and restarts what crashes, so
 * processes are forked at any time until it returns. They see memory as of their fork, and end by _exit, without
 * atexit functions. Of threads only the calling one is there: no other may hold a lock that a handler needs.
 * While it runs, SIGTERM, SIGINT, SIGQUIT, SIGCHLD and SIGPIPE are the library's; afterwards they have their
 * default actions. */
int stem_worker_run(stem_worker* worker, stem_error* error);
void stem_worker_close(stem_worker* worker);

/* ---- For handlers; what they return lives as long as the call */

const char* stem_task_id(stem_task* task);
const char* stem_task_name(stem_task* task);
const char* stem_task_queue(stem_task* task);
uint32_t stem_task_attempt(const stem_task* task); /* 0 the first time */
uint32_t stem_task_max_retries(const stem_task* task);
int32_t stem_task_priority(const stem_task* task);
stem_bytes stem_task_payload(const stem_task* task);
const char* stem_task_headers(stem_task* task); /* a JSON object of texts; empty when there are none */
const char* stem_task_meta(stem_task* task);    /* a JSON object; empty when there is none */
const char* stem_task_idempotency_key(stem_task* task);
/* W3C trace context for what the handler does; empty when the task has none. Tasks that it enqueues get it by
 * themselves, unless they are given a header traceparent. */
const char* stem_task_traceparent(stem_task* task);
int64_t stem_task_deadline_ns(const stem_task* task); /* CLOCK_MONOTONIC; 0 = none */
/* 1 after the soft time limit, a revoke with `terminate`, or when the worker is told to stop. Any thread. */
int32_t stem_task_stop_requested(const stem_task* task);

/* These give 0 when the lease was lost and somebody else has the task: whatever this call still says is void. */
int32_t stem_task_heartbeat(stem_task* task);
int32_t stem_task_extend_lease(stem_task* task, int64_t by_ns);
int32_t stem_task_progress(stem_task* task, double fraction, const char* data); /* 0 to 1, and a short text or null */

/* Another task; waiting for it in here would hold this worker. */
int stem_task_enqueue(stem_task* task, const char* name, const void* payload, size_t payload_size,
                      const stem_enqueue_options* options, stem_enqueued* enqueued, stem_error* error);

/* How it went. Bytes and texts are copied; without memory for them it is a failed attempt. */
void stem_task_succeed(stem_task* task, const void* result, size_t result_size);
void stem_task_retry(stem_task* task, int64_t delay_ns, const char* why);     /* below 0: by the task's policy */
void stem_task_snooze(stem_task* task, int64_t delay_ns);                     /* later; no attempt used */
void stem_task_discard(stem_task* task, const char* reason);                  /* over, as cancelled */
void stem_task_fail(stem_task* task, const char* reason);                     /* for good: a dead letter */
void stem_task_error(stem_task* task, const char* kind, const char* message); /* a failed attempt */
/* The payload cannot be read: a dead letter with the reason payload-invalid. */
void stem_task_refuse_payload(stem_task* task, const char* reason);

#ifdef __cplusplus
}
#endif

#endif
