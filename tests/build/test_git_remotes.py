"""What git itself asks a server for."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer


def test_git_leaves_steps_up_out_of_an_address() -> None:
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/team/../others/code"
        subprocess.run(["git", "ls-remote", address], capture_output=True, check=False)
        server.shutdown()
    assert asked
    assert all(path.startswith("/others/code/") for path in asked)
