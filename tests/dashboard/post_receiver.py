"""Takes what is posted: refuses the first REFUSALS, then prints each path and body on a line of its own.

    post_receiver.py REFUSALS
The first line is its port.
"""

import http.server
import sys

left = int(sys.argv[1])


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        global left
        body = self.rfile.read(int(self.headers["Content-Length"]))
        refused = left > 0
        left -= refused
        self.send_response(503 if refused else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if not refused:
            print(self.path, body.decode("utf-8"), flush=True)

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
