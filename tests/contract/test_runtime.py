"""AWS's runtime client and the plain one that replaces it call functions in the same way."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.stack import LAMBDA_PYTHON, ROOT

BOOTSTRAP = ROOT / "local/aws/bootstrap.py"
WORK = {"request_id": "r-1", "function_arn": "arn:aws:lambda:us-east-1:000000000000:function:f", "deadline_ms": 1 << 45}
NAMES = ("FUNCTION_NAME", "FUNCTION_VERSION", "FUNCTION_MEMORY_SIZE", "LOG_GROUP_NAME", "LOG_STREAM_NAME")


def dialog(python: Path | str, folder: Path, code: str, handler: str = "app.handler", calls: int = 1) -> list[Any]:
    """Run a function for this many calls; return its messages, each a kind and a body."""
    (folder / "app.py").write_text(code)
    to_child, write = os.pipe()
    read, from_child = os.pipe()
    environment = {f"AWS_LAMBDA_{name}": f"a {name}" for name in NAMES}
    process = subprocess.Popen(
        [python, "-u", BOOTSTRAP, handler, str(to_child), str(from_child)],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(folder)},
        pass_fds=(to_child, from_child),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_child)
    os.close(from_child)
    for number in range(calls):
        content = json.dumps({**WORK, "event": json.dumps({"n": number})}).encode()
        os.write(write, struct.pack(">I", len(content)) + content)
    os.close(write)
    process.wait(30)
    with os.fdopen(read, "rb") as answers:
        content = answers.read()
    messages = []
    while content:
        (size,) = struct.unpack(">I", content[:4])
        message = json.loads(content[4 : 4 + size])
        messages.append([message["kind"], json.loads(message["body"] or "null")])
        content = content[4 + size :]
    return messages


@pytest.mark.parametrize(
    ("code", "handler"),
    [
        ("def handler(e, c): return {'event': e, 'é': [1.5, None]}", "app.handler"),
        ("def handler(e, c): return {k: str(v) for k, v in vars(c).items() if k[0] != '_'}", "app.handler"),
        ("def handler(e, c): return c.get_remaining_time_in_millis() > 9", "app.handler"),
        (
            "class Mine(Exception): pass\ndef handler(e, c):\n  if e['n'] == 0: raise Mine('first')\n  return 'x'",
            "app.handler",
        ),
        ("def handler(e, c): return object()", "app.handler"),
        ("raise ValueError('at import')", "app.handler"),
        ("import not_there", "app.handler"),
        ("", "app.handler"),
        ("", "gone.handler"),
    ],
)
def test_both_runtimes_answer_alike(tmp_path: Path, code: str, handler: str) -> None:
    of_aws = dialog(LAMBDA_PYTHON, tmp_path, code, handler, calls=2)
    plain = dialog(sys.executable, tmp_path, code, handler, calls=2)
    assert of_aws
    assert [_told(message) for message in plain] == [_told(message) for message in of_aws]


def _told(message: list[Any]) -> Any:
    """Return a message without the runtime's own stack frames."""
    kind, body = message
    if "error" in kind:
        return kind, {**body, "stackTrace": [frame for frame in body["stackTrace"] if "app.py" in frame]}
    if kind == "result" and isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in ("client_context", "identity", "tenant_id")}
    return kind, body
