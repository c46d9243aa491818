/* A C program against libstem-c: a worker in a child process, and a producer that looks at every outcome.
 * Compiled as C99, pedantic. `outside layout` prints the sizes and offsets that are part of the ABI. */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <stem/stem.h>

#define SECOND INT64_C(1000000000)

static int failures;
#define EXPECT(what)                                                  \
  do {                                                                \
    if (!(what)) {                                                    \
      fprintf(stderr, "outside.c:%d: not so: %s\n", __LINE__, #what); \
      ++failures;                                                     \
    }                                                                 \
  } while (0)

/* ---- the worker */

static const char* marker; /* a file that the crashing handler leaves */
static pid_t supervisor;

static void shout(stem_task* task, void* context) {
  stem_bytes in = stem_task_payload(task);
  const char* bytes = in.data;
  char out[256];
  size_t i;
  if (strcmp(context, "context") != 0 || in.size > sizeof out) {
    stem_task_fail(task, "not my context");
    return;
  }
  for (i = 0; i < in.size; ++i) out[i] = bytes[i] >= 'a' && bytes[i] <= 'z' ? (char)(bytes[i] - 32) : bytes[i];
  stem_task_succeed(task, out, in.size);
}

static void describe(stem_task* task, void* context) {
  char out[512];
  (void)context;
  snprintf(out, sizeof out, "%s %s %u %u %d %s %s %s %d %d", stem_task_name(task), stem_task_queue(task),
           (unsigned)stem_task_attempt(task), (unsigned)stem_task_max_retries(task), (int)stem_task_priority(task),
           stem_task_headers(task), stem_task_meta(task), stem_task_idempotency_key(task),
           getpid() != supervisor && getppid() == supervisor, stem_task_deadline_ns(task) != 0);
  stem_task_succeed(task, out, strlen(out));
}

static void flaky(stem_task* task, void* context) {
  (void)context;
  if (stem_task_attempt(task) == 0)
    stem_task_error(task, "Flaky", "the first time never works");
  else if (stem_task_attempt(task) == 1)
    stem_task_retry(task, 1000000, "nor the second");
  else
    stem_task_succeed(task, "third", 5);
}

static void silent(stem_task* task, void* context) {
  (void)task;
  (void)context;
}

static void decide(stem_task* task, void* context) {
  stem_bytes in = stem_task_payload(task);
  (void)context;
  if (in.size == 4 && memcmp(in.data, "fail", 4) == 0) stem_task_fail(task, "for good");
  if (in.size == 7 && memcmp(in.data, "discard", 7) == 0) stem_task_discard(task, "no more");
  if (in.size == 5 && memcmp(in.data, "\xff\xff\xff\xff\xff", 5) == 0) stem_task_refuse_payload(task, "unreadable");
}

static void patient(stem_task* task, void* context) {
  const struct timespec pause = {0, 1000000};
  (void)context;
  stem_task_progress(task, 0.25, "{\"step\":1}");
  while (!stem_task_stop_requested(task)) {
    if (!stem_task_heartbeat(task)) return;
    nanosleep(&pause, NULL);
  }
  stem_task_succeed(task, "too late", 8);
}

static void parent(stem_task* task, void* context) {
  stem_enqueued child;
  stem_error error;
  (void)context;
  if (stem_task_enqueue(task, "shout", "child", 5, NULL, &child, &error) != STEM_OK)
    stem_task_fail(task, error.message);
  else
    stem_task_succeed(task, child.id.text, strlen(child.id.text));
}

/* A task's trace goes on in what it enqueues: the same trace, and another parent. */
static void traced(stem_task* task, void* context) {
  const char* trace = stem_task_traceparent(task);
  stem_enqueued child;
  (void)context;
  if (strstr(trace, "0af7651916cd43dd8448eb211c80319c") == NULL || strstr(trace, "b7ad6b7169203331") != NULL)
    stem_task_fail(task, trace);
  else if (stem_task_enqueue(task, "describe", "", 0, NULL, &child, NULL) != STEM_OK)
    stem_task_fail(task, "enqueue");
  else
    stem_task_succeed(task, child.id.text, strlen(child.id.text));
}

static void crash_once(stem_task* task, void* context) {
  FILE* file = fopen(marker, "r");
  (void)context;
  if (file == NULL) {
    file = fopen(marker, "w");
    if (file == NULL) abort();
    fclose(file);
    raise(SIGKILL);
  }
  fclose(file);
  stem_task_succeed(task, "again", 5);
}

static int work(void) {
  stem_worker_options options;
  stem_worker* worker;
  stem_error error;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.concurrency = 2;
  options.pin = "none";
  options.quiet = 1;
  supervisor = getpid();
  if (stem_worker_open(&options, &worker, &error) != STEM_OK ||
      stem_worker_on(worker, "shout", shout, "context", &error) != STEM_OK ||
      stem_worker_on(worker, "describe", describe, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "flaky", flaky, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "silent", silent, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "decide", decide, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "patient", patient, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "parent", parent, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "traced", traced, NULL, &error) != STEM_OK ||
      stem_worker_on(worker, "crash_once", crash_once, NULL, &error) != STEM_OK ||
      stem_worker_run(worker, &error) != STEM_OK) {
    fprintf(stderr, "worker: %s\n", error.message);
    return 1;
  }
  stem_worker_close(worker);
  return 0;
}

/* ---- the producer */

static void enqueue(stem_client* client, const char* task, const char* payload, const stem_enqueue_options* options,
                    stem_enqueued* enqueued) {
  stem_error error;
  memset(enqueued, 0, sizeof *enqueued);
  if (stem_enqueue(client, task, payload, strlen(payload), options, enqueued, &error) != STEM_OK) {
    fprintf(stderr, "enqueue %s: %s\n", task, error.message);
    ++failures;
  }
}

/* Waits for the end and compares it: the result when it succeeded, else the error's kind. */
static void expect_end(stem_client* client, const char* id, int32_t state, const char* said) {
  stem_result* result = NULL;
  stem_error error;
  stem_bytes value;
  if (stem_wait(client, id, 60 * SECOND, &result, &error) != STEM_OK) {
    fprintf(stderr, "wait: %s\n", error.message);
    ++failures;
    return;
  }
  value = stem_result_value(result);
  if (stem_result_state(result) != state ||
      (state == STEM_SUCCEEDED ? value.size != strlen(said) || memcmp(value.data, said, value.size) != 0
                               : strcmp(stem_result_error_kind(result), said) != 0)) {
    fprintf(stderr, "expected %s '%s', got %s '%.*s' %s: %s\n", stem_state_name(state), said,
            stem_state_name(stem_result_state(result)), (int)value.size, (const char*)value.data,
            stem_result_error_kind(result), stem_result_error_message(result));
    ++failures;
  }
  stem_result_free(result);
}

static void check_outcomes(stem_client* client) {
  stem_enqueue_options options;
  stem_enqueued one;
  stem_header header;
  stem_result* result = NULL;
  stem_error error;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;

  enqueue(client, "shout", "hello", NULL, &one);
  expect_end(client, one.id.text, STEM_SUCCEEDED, "HELLO");

  header.name = "tenant";
  header.value = "acme";
  options.headers = &header;
  options.header_count = 1;
  options.meta = "{\"a\":1}";
  options.idempotency_key = "key-1";
  options.priority = 7;
  options.given = STEM_GIVEN_MAX_RETRIES;
  options.max_retries = 0;
  options.hard_time_limit_ns = 30 * SECOND;
  enqueue(client, "describe", "", &options, &one);
  expect_end(client, one.id.text, STEM_SUCCEEDED, "describe default 0 0 7 {\"tenant\":\"acme\"} {\"a\":1} key-1 1 1");

  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.retry = STEM_RETRY_CONSTANT;
  options.retry_base_ns = 1000000;
  enqueue(client, "flaky", "", &options, &one);
  expect_end(client, one.id.text, STEM_SUCCEEDED, "third");

  options.given = STEM_GIVEN_MAX_RETRIES;
  options.max_retries = 0;
  enqueue(client, "silent", "", &options, &one);
  expect_end(client, one.id.text, STEM_DEAD, "no-outcome");
  enqueue(client, "flaky", "", &options, &one);
  expect_end(client, one.id.text, STEM_DEAD, "Flaky");
  enqueue(client, "decide", "fail", NULL, &one);
  expect_end(client, one.id.text, STEM_DEAD, "failed");
  enqueue(client, "decide", "discard", NULL, &one);
  expect_end(client, one.id.text, STEM_CANCELLED, "discarded");
  enqueue(client, "decide", "\xff\xff\xff\xff\xff", NULL, &one);
  expect_end(client, one.id.text, STEM_DEAD, "payload-invalid");
  enqueue(client, "crash_once", "", NULL, &one);
  expect_end(client, one.id.text, STEM_SUCCEEDED, "again");

  enqueue(client, "parent", "", NULL, &one);
  EXPECT(stem_wait(client, one.id.text, 60 * SECOND, &result, &error) == STEM_OK);
  if (result != NULL) {
    char child[64] = "";
    stem_bytes value = stem_result_value(result);
    if (value.size < sizeof child) memcpy(child, value.data, value.size);
    expect_end(client, child, STEM_SUCCEEDED, "CHILD");
    stem_result_free(result);
  }
}

static void check_trace(stem_client* client) {
  stem_enqueue_options options;
  stem_enqueued one;
  stem_header header;
  stem_result* result = NULL;
  stem_error error;
  char child[64] = "";
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  header.name = "traceparent";
  header.value = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  options.headers = &header;
  options.header_count = 1;
  enqueue(client, "traced", "", &options, &one);
  EXPECT(stem_wait(client, one.id.text, 60 * SECOND, &result, &error) == STEM_OK);
  EXPECT(stem_result_state(result) == STEM_SUCCEEDED);
  if (stem_result_value(result).size < sizeof child)
    memcpy(child, stem_result_value(result).data, stem_result_value(result).size);
  stem_result_free(result);
  result = NULL;
  EXPECT(stem_wait(client, child, 60 * SECOND, &result, &error) == STEM_OK);
  if (result != NULL) {
    char said[512] = "";
    stem_bytes value = stem_result_value(result);
    if (value.size < sizeof said) memcpy(said, value.data, value.size);
    EXPECT(strstr(said, "\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-") != NULL);
    stem_result_free(result);
  }
}

static void check_progress_and_revoke(stem_client* client) {
  const struct timespec pause = {0, 1000000};
  stem_enqueued one;
  stem_buffer* data = NULL;
  stem_error error;
  double fraction = -1;
  int32_t met = -1;
  int looks;
  enqueue(client, "patient", "", NULL, &one);
  for (looks = 0; looks < 60000 && fraction < 0; ++looks) {
    EXPECT(stem_progress(client, one.id.text, &fraction, &data, &error) == STEM_OK);
    if (fraction < 0) nanosleep(&pause, NULL);
  }
  EXPECT(fraction == 0.25);
  EXPECT(stem_buffer_bytes(data).size == 10 && memcmp(stem_buffer_bytes(data).data, "{\"step\":1}", 10) == 0);
  stem_buffer_free(data);
  EXPECT(stem_state(client, one.id.text, &met, &error) == STEM_OK && met == STEM_RUNNING);
  EXPECT(stem_revoke(client, one.id.text, 1, &met, &error) == STEM_OK && met == STEM_RUNNING);
  expect_end(client, one.id.text, STEM_CANCELLED, "discarded");
  EXPECT(stem_revoke(client, one.id.text, 0, NULL, &error) == STEM_REFUSED);
}

static void check_many(stem_client* client) {
  const stem_bytes payloads[3] = {{"a", 1}, {"bc", 2}, {NULL, 0}};
  static const char huge[(1 << 20) + 1];
  stem_bytes bad[3];
  stem_enqueued many[3];
  stem_error error;
  size_t done = 99;
  EXPECT(stem_enqueue_many(client, "shout", payloads, 3, NULL, many, &done, &error) == STEM_OK && done == 3);
  expect_end(client, many[0].id.text, STEM_SUCCEEDED, "A");
  expect_end(client, many[1].id.text, STEM_SUCCEEDED, "BC");
  expect_end(client, many[2].id.text, STEM_SUCCEEDED, "");
  bad[0] = payloads[0];
  bad[1].data = huge;
  bad[1].size = sizeof huge;
  bad[2] = payloads[1];
  EXPECT(stem_enqueue_many(client, "shout", bad, 3, NULL, many, &done, &error) == STEM_TOO_LARGE && done == 1);
  expect_end(client, many[0].id.text, STEM_SUCCEEDED, "A");
}

static void check_refusals(stem_client* client) {
  struct {
    stem_enqueue_options known;
    void* unknown;
  } newer;
  stem_client_options absent;
  stem_enqueue_options options;
  stem_client* none = NULL;
  stem_result* result = NULL;
  stem_enqueued one, twin;
  stem_error error;
  int32_t state = -1;
  memset(&options, 0, sizeof options);

  EXPECT(stem_enqueue(NULL, "shout", "", 0, NULL, &one, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(strcmp(error.message, "client is null") == 0 && error.code == STEM_INVALID_ARGUMENT);
  EXPECT(stem_enqueue(client, NULL, "", 0, NULL, &one, NULL) == STEM_INVALID_ARGUMENT);
  EXPECT(stem_enqueue(client, "shout", NULL, 5, NULL, &one, NULL) == STEM_INVALID_ARGUMENT);
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_INVALID_ARGUMENT); /* no size */
  EXPECT(strstr(error.message, "size") != NULL);
  options.size = sizeof options;
  options.rate_limit = "often";
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "often") != NULL);
  options.rate_limit = NULL;
  options.eta_ns = -1;
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(strcmp(error.message, "eta_ns is negative") == 0);
  EXPECT(stem_state(client, "no id", &state, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(stem_wait(client, "00000001-0000000000000001", SECOND, &result, &error) == STEM_OK);
  EXPECT(stem_result_state(result) == STEM_GONE);
  stem_result_free(result);

  /* A struct of a newer program: fine while what is new in it is not asked for. */
  memset(&newer, 0, sizeof newer);
  newer.known.size = sizeof newer;
  EXPECT(stem_enqueue(client, "shout", "x", 1, &newer.known, &one, &error) == STEM_OK);
  newer.unknown = &newer;
  EXPECT(stem_enqueue(client, "shout", "x", 1, &newer.known, &one, &error) == STEM_INVALID_ARGUMENT);
  /* And of an older one, that ended before `unique`. */
  memset(&options, 0xff, sizeof options);
  memset(&options, 0, offsetof(stem_enqueue_options, unique));
  options.size = offsetof(stem_enqueue_options, unique);
  EXPECT(stem_enqueue(client, "shout", "x", 1, &options, &one, &error) == STEM_OK);

  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.unique_key = "only one";
  options.delay_ns = 3600 * SECOND;
  options.unique_for_ns = 3600 * SECOND;
  EXPECT(stem_enqueue(client, "shout", "x", 1, &options, &one, &error) == STEM_OK && !one.duplicate);
  EXPECT(stem_enqueue(client, "shout", "y", 1, &options, &twin, &error) == STEM_OK && twin.duplicate);
  EXPECT(strcmp(one.id.text, twin.id.text) == 0);
  EXPECT(stem_wait(client, one.id.text, 0, &result, &error) == STEM_TIMEOUT && result == NULL);
  EXPECT(stem_revoke(client, one.id.text, 0, &state, &error) == STEM_OK && state == STEM_CANCELLED);

  memset(&absent, 0, sizeof absent);
  absent.size = sizeof absent;
  absent.name_space = "absent";
  absent.must_exist = 1;
  EXPECT(stem_client_open(&absent, &none, &error) == STEM_NOT_FOUND && none == NULL);
  EXPECT(stem_destroy("absent", NULL, &error) == STEM_NOT_FOUND);
  stem_client_close(NULL);
  stem_result_free(NULL);
  stem_buffer_free(NULL);
  EXPECT(strcmp(stem_code_name(STEM_FULL), "full") == 0 && strcmp(stem_code_name(77), "unknown") == 0);
  EXPECT(strcmp(stem_code_name(STEM_STOPPED), "cancelled") == 0 && strcmp(stem_code_name(STEM_SYSTEM), "system") == 0 &&
         strcmp(stem_code_name(STEM_TIMEOUT), "timeout") == 0);
  EXPECT(strcmp(stem_state_name(STEM_DEAD), "dead") == 0 && strcmp(stem_state_name(-1), "unknown") == 0);
}

/* What no version knows yet may mean something in a later one: never passed over in silence. */
static void check_unknown(stem_client* client) {
  stem_client_options opening;
  stem_enqueue_options options;
  stem_worker_options working;
  stem_link link;
  stem_client* none = NULL;
  stem_worker* worker = NULL;
  stem_enqueued one;
  stem_error error;
  uint32_t bit;
  int i;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  memset(&working, 0, sizeof working);
  working.size = sizeof working;
  options.max_retries = 1;
  options.result_ttl_ns = working.spin_ns = working.drain_timeout_ns = working.soft_grace_ns = SECOND;
  for (i = 0; i < 32; ++i) {
    int of_enqueue, of_worker;
    bit = (uint32_t)1 << i;
    of_enqueue = bit == STEM_GIVEN_MAX_RETRIES || bit == STEM_GIVEN_RESULT_TTL || bit == STEM_GIVEN_FULL_TIMEOUT;
    of_worker = bit == STEM_GIVEN_SPIN || bit == STEM_GIVEN_DRAIN_TIMEOUT || bit == STEM_GIVEN_SOFT_GRACE;
    options.given = working.given = bit;
    EXPECT((stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_OK) == of_enqueue);
    EXPECT(of_enqueue || (error.code == STEM_INVALID_ARGUMENT && strstr(error.message, "given") != NULL));
    EXPECT((stem_worker_open(&working, &worker, &error) == STEM_OK) == of_worker);
    EXPECT(of_worker || (error.code == STEM_INVALID_ARGUMENT && strstr(error.message, "given") != NULL));
    stem_worker_close(worker);
    worker = NULL;
  }
  options.given = 0;

  memset(&link, 0, sizeof link);
  link.task = "shout";
  link.max_retries = -1;
  options.links = &link;
  options.link_count = 1;
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_OK);
  link.max_retries = -2;
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "max_retries") != NULL);
  link.max_retries = 0;
  link.reserved = 1;
  EXPECT(stem_enqueue(client, "shout", "", 0, &options, &one, &error) == STEM_INVALID_ARGUMENT);
  EXPECT(strstr(error.message, "reserved") != NULL);

  memset(&opening, 0, sizeof opening);
  opening.size = sizeof opening;
  opening.reserved = 1;
  EXPECT(stem_client_open(&opening, &none, &error) == STEM_INVALID_ARGUMENT && none == NULL);
  EXPECT(strstr(error.message, "reserved") != NULL);
}

static void check_json(void) {
  const char* texts[] = {"{\"a\":[1,2.5,null,true,\"x\"]}", "\"just text\"", "7", "-3", "300", "null", "[]"};
  stem_buffer *payload, *json;
  stem_error error;
  size_t i;
  for (i = 0; i < sizeof texts / sizeof *texts; ++i) {
    stem_bytes bytes;
    payload = json = NULL;
    EXPECT(stem_json_to_payload(texts[i], strlen(texts[i]), &payload, &error) == STEM_OK);
    bytes = stem_buffer_bytes(payload);
    EXPECT(stem_payload_to_json(bytes.data, bytes.size, &json, &error) == STEM_OK);
    bytes = stem_buffer_bytes(json);
    EXPECT(bytes.size == strlen(texts[i]) && memcmp(bytes.data, texts[i], bytes.size) == 0);
    stem_buffer_free(payload);
    stem_buffer_free(json);
  }
  EXPECT(stem_json_to_payload("{", 1, &payload, &error) == STEM_INVALID_ARGUMENT && payload == NULL);
  EXPECT(stem_payload_to_json("\xff\xfe\x00", 3, &json, &error) == STEM_INVALID_ARGUMENT && json == NULL);
}

#define SIZE(type)           printf("sizeof %s %d\n", #type, (int)sizeof(type))
#define OFFSET(type, member) printf("offset %s.%s %d\n", #type, #member, (int)offsetof(type, member))

static void check_events(stem_client* client) {
  stem_events* events = NULL;
  stem_event event;
  stem_enqueued made;
  stem_result* result = NULL;
  int published = 0, done = 0, steps = 0, i;
  EXPECT(stem_events_follow("nowhere", NULL, 0, &events, NULL) == STEM_NOT_FOUND && events == NULL);
  EXPECT(stem_events_follow(NULL, NULL, 1, &events, NULL) == STEM_OK);
  EXPECT(stem_enqueue(client, "shout", "abc", 3, NULL, &made, NULL) == STEM_OK);
  EXPECT(stem_wait(client, made.id.text, 60 * SECOND, &result, NULL) == STEM_OK);
  stem_result_free(result);
  memset(&event, 0, sizeof event);
  EXPECT(stem_events_next(events, 0, &event, NULL) == STEM_INVALID_ARGUMENT); /* its size is not set */
  event.size = sizeof event;
  for (i = 0; i < 100000 && steps == 0; ++i) {
    if (stem_events_next(events, 60 * SECOND, &event, NULL) != STEM_OK) break;
    if (strcmp(event.id, made.id.text) != 0) continue;
    EXPECT(event.at_ns > 0 && event.by[0] != '\0' && strcmp(event.task, "shout") == 0);
    published += strcmp(event.name, "after-task-publish") == 0;
    done += strcmp(event.name, "task-succeeded") == 0;
    steps += strcmp(event.name, "task-postrun") == 0 && strcmp(event.text, "succeeded") == 0;
  }
  EXPECT(published == 1 && done == 1 && steps == 1);
  EXPECT(stem_events_missed(events) == 0 && stem_events_missed(NULL) == 0);
  EXPECT(stem_events_next(NULL, 0, &event, NULL) == STEM_INVALID_ARGUMENT);
  stem_events_close(events);
  stem_events_close(NULL);
}

static int print_layout(void) {
  SIZE(stem_error);
  SIZE(stem_bytes);
  SIZE(stem_client_options);
  OFFSET(stem_client_options, payload_capacity_bytes);
  SIZE(stem_id);
  SIZE(stem_header);
  SIZE(stem_link);
  OFFSET(stem_link, keep_result);
  SIZE(stem_enqueue_options);
  OFFSET(stem_enqueue_options, queue);
  OFFSET(stem_enqueue_options, full_timeout_ns);
  OFFSET(stem_enqueue_options, affinity_key);
  OFFSET(stem_enqueue_options, concurrency_key);
  OFFSET(stem_enqueue_options, retry);
  OFFSET(stem_enqueue_options, error_link_count);
  SIZE(stem_enqueued);
  OFFSET(stem_enqueued, duplicate);
  SIZE(stem_event);
  OFFSET(stem_event, reason);
  OFFSET(stem_event, attempt);
  OFFSET(stem_event, value);
  SIZE(stem_worker_options);
  OFFSET(stem_worker_options, pin);
  OFFSET(stem_worker_options, quiet);
  OFFSET(stem_worker_options, soft_grace_ns);
  return 0;
}

int main(int argc, char** argv) {
  stem_client* client = NULL;
  stem_error error;
  pid_t child;
  int status = 0;
  if (argc == 2 && strcmp(argv[1], "layout") == 0) return print_layout();
  if (argc != 2) return 2;
  marker = argv[1];
  child = fork();
  if (child == 0) return work();
  if (stem_client_open(NULL, &client, &error) != STEM_OK) {
    fprintf(stderr, "client: %s\n", error.message);
    ++failures;
  } else {
    check_json();
    check_outcomes(client);
    check_trace(client);
    check_progress_and_revoke(client);
    check_many(client);
    check_events(client);
    check_refusals(client);
    check_unknown(client);
    stem_client_close(client);
  }
  kill(child, SIGTERM);
  waitpid(child, &status, 0);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  if (failures == 0) printf("stem %s\n", stem_version());
  return failures == 0 ? 0 : 1;
}
