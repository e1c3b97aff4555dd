"""The real wandb client's rules that our own rules follow."""

import json
import subprocess

from launch_agent.run_queue.items import is_run_id
from tests.documents import ROOT

RUN_IDS = [
    "limzn0a6",
    "a.b_c-d",
    "lr=0.1 (big)",
    "Größe-3",
    "x" * 128,
    "a@b",
    "a+b",
    "a|b",
    "a*b",
    "$x",
    "a&b",
    "<a>",
    '"',
    "~",
]
REFUSED = [f"a{char}b" for char in ":;,#?/'"] + [" a", "a ", " ", ""]
_CLIENT = """
import json, sys, wandb
def taken(run_id):
    try:
        wandb.Settings(run_id=run_id)
    except Exception:
        return False
    return True
json.dump([taken(run_id) for run_id in json.load(sys.stdin)], sys.stdout)
"""


def taken_by_the_client(run_ids: list[str]) -> list[bool]:
    python = [str(ROOT / ".venvs/training/bin/python"), "-c", _CLIENT]
    answer = subprocess.run(python, input=json.dumps(run_ids), capture_output=True, text=True, check=True)
    return list(json.loads(answer.stdout))


def test_every_run_id_that_is_taken_here_is_one_the_client_takes() -> None:
    assert [is_run_id(run_id) for run_id in RUN_IDS] == taken_by_the_client(RUN_IDS) == [True] * len(RUN_IDS)


def test_every_run_id_that_the_client_refuses_is_refused_here() -> None:
    assert [is_run_id(run_id) for run_id in REFUSED] == taken_by_the_client(REFUSED) == [False] * len(REFUSED)
