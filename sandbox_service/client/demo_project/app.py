"""A small web app: one page, made from a file that is read at every request."""

import http.server
import pathlib
import sys

from greeting import greet

PAGE = pathlib.Path(__file__).parent / "static" / "page.html"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = PAGE.read_text().replace("{greeting}", greet("sandbox")).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port = int(sys.argv[1])
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"listening on {port}", flush=True)
    server.serve_forever()
