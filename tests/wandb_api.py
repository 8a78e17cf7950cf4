"""A stand-in for W&B's server: it lets a run begin, and is gone once the run has sent its first numbers."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RUN = {
    "id": "run",
    "displayName": "run",
    "description": "",
    "config": "{}",
    "historyLineCount": 0,
    "sweepName": None,
    "project": {"id": "project", "name": "tests", "entity": {"id": "entity", "name": "me"}},
}
ANSWERS = {
    "viewer": {"id": "v", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}},
    "serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}, "latestLocalVersionInfo": None, "features": []},
    "model": {"bucket": None, "name": "tests", "entityName": "me"},
    "project": None,
    "entity": {"name": "me"},
    "createRunFiles": {"files": []},
}


@contextmanager
def api_that_dies() -> Iterator[tuple[str, threading.Event]]:
    """Serve; yields the address, and what is set once the server has gone."""
    gone = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers.get("content-length", 0)))
            if "file_stream" in self.path or gone.is_set():
                if not gone.is_set():
                    gone.set()
                    threading.Thread(target=server.shutdown, daemon=True).start()
                    server.socket.close()  # nobody answers from here on
                self.close_connection = True
                return
            wanted = (json.loads(asked).get("variables") or {}).get("name") if b'"variables"' in asked else None
            run = {"bucket": RUN | {"name": wanted or "abc12345"}, "inserted": True}
            answer = json.dumps({"data": ANSWERS | {"upsertBucket": run}}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST

        def log_message(self, *_) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", gone
    finally:
        gone.set()
        server.shutdown()
        server.server_close()
