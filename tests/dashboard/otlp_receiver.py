#!/usr/bin/env python3
"""An OTLP/HTTP receiver of its own making, which knows the protocol's JSON and nothing of our code.

otlp_receiver.py REFUSALS EXPORTS: answers the first REFUSALS exports with 503, checks and takes the next EXPORTS, then
prints what it has by name and ends with 0; with 1 and the reason when one of them is not as the protocol says. The port
is its first line.
"""
import http.server
import json
import re
import sys

KINDS = {"gauge", "sum", "histogram"}


def check(condition, why):
    if not condition:
        raise AssertionError(why)


def number(text):
    """A 64-bit number is a text in protobuf's JSON."""
    check(isinstance(text, str) and re.fullmatch(r"\d+", text), f"{text!r} is no 64-bit number")
    return int(text)


def attributes(of):
    found = {}
    for one in of:
        check(set(one) == {"key", "value"} and list(one["value"]) == ["stringValue"], f"attribute {one}")
        found[one["key"]] = one["value"]["stringValue"]
    check(len(found) == len(of), "an attribute stands twice")
    return found


def check_histogram(point):
    counts = [number(c) for c in point["bucketCounts"]]
    bounds = point["explicitBounds"]
    check(len(counts) == len(bounds) + 1, "one bucket more than bounds")
    check(bounds == sorted(set(bounds)), "bounds go up")
    check(sum(counts) == number(point["count"]), "buckets add up to the count")
    check(point["sum"] >= 0, "sum")


def check_metric(metric):
    kind = KINDS & set(metric)
    check(len(kind) == 1, f"{metric['name']}: one kind of data")
    (kind,) = kind
    check(re.fullmatch(r"[a-z][a-z0-9_.]*", metric["name"]), metric["name"])
    check(metric["description"] and metric["unit"], metric["name"])
    data = metric[kind]
    if kind != "gauge":
        check(data["aggregationTemporality"] == 2, "cumulative")
    if kind == "sum":
        check(data["isMonotonic"] is True, "counters only go up")
    series = {}
    for point in data["dataPoints"]:
        labels = json.dumps(attributes(point["attributes"]), sort_keys=True)
        check(labels not in series, f"{metric['name']} {labels} stands twice")
        check(number(point["timeUnixNano"]) > number(point.get("startTimeUnixNano", "1")) > 0, "times")
        if kind == "histogram":
            check_histogram(point)
            series[labels] = int(point["count"])
        elif kind == "sum":
            series[labels] = number(point["asInt"])
        else:
            series[labels] = float(point["asDouble"])
    check(series, f"{metric['name']} has no points")
    return series


def check_export(body):
    found = {}
    for resource in body["resourceMetrics"]:
        named = attributes(resource["resource"]["attributes"])
        check(named["service.name"] == "stem" and named["host.name"], f"resource {named}")
        for scope in resource["scopeMetrics"]:
            check(scope["scope"]["name"] and scope["scope"]["version"], "scope")
            for metric in scope["metrics"]:
                check(metric["name"] not in found, f"{metric['name']} stands twice")
                found[metric["name"]] = check_metric(metric)
    return found


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        if server.refusals > 0:
            server.refusals -= 1
            self.send_response(503)
            self.end_headers()
            return
        try:
            check(self.path == "/v1/metrics", self.path)
            check(self.headers["Content-Type"] == "application/json", self.headers["Content-Type"])
            server.found = check_export(json.loads(body))
            server.exports -= 1
        except Exception as fault:  # pylint: disable=broad-except
            server.fault = repr(fault)
        answer = b"{}"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main():
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    server.refusals, server.exports = int(sys.argv[1]), int(sys.argv[2])
    server.found, server.fault = {}, None
    print(server.server_port, flush=True)
    while server.exports > 0 and server.fault is None:
        server.handle_request()
    if server.fault is not None:
        print(server.fault, file=sys.stderr)
        return 1
    print(json.dumps(server.found), flush=True)
    return 0


sys.exit(main())
