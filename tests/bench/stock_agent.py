"""The real `wandb launch-agent`, as a process, with a W&B server and a SageMaker on this machine.

The servers are those of the simulated world, in real time: `local.wandb` and `tests.simulation.training`. They count
each request, and answer it after the time that one over the network takes.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from local.loopback import Application, Message, OwnMachineOnly, Receive, Send, body_of, headers_of
from local.serving import served
from local.wandb import WandbServer
from local.wandb.runs import Run
from tests.bench.network import LATENCY
from tests.documents import ROOT
from tests.simulation.dynamodb import Refused
from tests.simulation.training import Job, Script, Training
from tests.simulation.transport import operation_of
from tests.simulation.world import API_KEY, ENTITY, IMAGE, PROJECT, QUEUE, queue_config

_TRAINING = ROOT / ".venvs/training/bin"
_PATIENCE_SECONDS = 7200
_FILES = ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR", "TMPDIR")
_IDENTITY = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/agent</Arn><UserId>agent</UserId><Account>123456789012</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


class _RealTime:
    """Real time, in the place of the simulated clock."""

    def __init__(self) -> None:
        self.random = random.Random(1)

    @property
    def now(self) -> float:
        return time.time()

    def after(self, seconds: float, happens: Callable[[], None]) -> None:
        """Call `happens` after this many seconds, in the thread of the server."""
        asyncio.get_running_loop().call_later(seconds, happens)


class StockAgent:
    """The servers of one stock agent, and what it has asked them."""

    def __init__(self, script: Script) -> None:
        self.script = script
        """The course of the training jobs that it creates."""
        self.asked: Counter[str] = Counter()
        """The requests so far, as `wandb.RunQueueItemAck` or `sagemaker.CreateTrainingJob`."""
        self.popped_at: list[float] = []
        """When it asked for an item."""
        self.created_at: list[float] = []
        """When it created a training job."""
        self.server = WandbServer(entity=ENTITY, api_key=API_KEY)
        self.server.create_queue(QUEUE, config=queue_config())
        self.server.app = self._slow(self.server.app)
        self.training = Training(
            _RealTime(),  # type: ignore[arg-type]  # it has what SageMaker needs of a clock
            quota=100_000,
            script=lambda _: Script(**vars(self.script)),
            created=lambda _: self.created_at.append(time.time()),
            changed=self._tell_container,
        )

    def push(self, number: int) -> float:
        """Queue this many runs of an image; return the time."""
        spec = {"entity": ENTITY, "project": PROJECT, "docker": {"docker_image": IMAGE}}
        for _ in range(number):
            self.server.push(QUEUE, spec)
        return time.time()

    def wait_for_jobs(self, number: int) -> None:
        """Wait until the stock agent has created this many training jobs. Raises TimeoutError."""
        wait(lambda: len(self.created_at) >= number, within=_PATIENCE_SECONDS)

    def _tell_container(self, job: Job) -> None:
        """Act as the code in the container: the run is in W&B while and after it trains."""
        entity, name, run_id = job.run
        project, status = self.server.state.project(entity, name), job.shown["SecondaryStatus"]
        if status == "Training":
            project.runs_by_id[run_id] = Run(run_id, project, self.server.state.number())
        elif status == "Completed":
            project.runs_by_id[run_id].state = "finished"

    # --- the servers
    def _slow(self, app: Application) -> Application:
        """Return W&B's application, with its requests counted and as slow as over the network."""

        async def answer(scope: Message, receive: Receive, send: Send) -> None:
            body = await body_of(receive)
            operation = operation_of(scope["path"], body)
            self.asked[f"wandb.{operation}"] += 1
            if b"popFromRunQueue" in body:
                self.popped_at.append(time.time())
            await asyncio.sleep(LATENCY.wandb)

            async def again() -> Message:
                return {"type": "http.request", "body": body, "more_body": False}

            await app(scope, again, send)

        return answer

    async def aws(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request to SageMaker or STS."""
        body, target = await body_of(receive), headers_of(scope).get("x-amz-target", "")
        if target:
            status, content = self._sagemaker(target.partition(".")[2], body)
        else:
            status, content = 200, _IDENTITY
            self.asked[f"sts.{parse_qs(body.decode())['Action'][0]}"] += 1
        await asyncio.sleep(LATENCY.aws)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/xml")]})
        await send({"type": "http.response.body", "body": content})

    def _sagemaker(self, operation: str, body: bytes) -> tuple[int, bytes]:
        self.asked[f"sagemaker.{operation}"] += 1
        try:
            return 200, json.dumps(self.training.answer(operation, json.loads(body))).encode()
        except Refused as refused:
            return 400, json.dumps({"__type": refused.code, "message": str(refused)}).encode()


@contextmanager
def stock_agent(*, max_jobs: int = 10_000, script: Script | None = None) -> Iterator[StockAgent]:
    """Start a stock agent with its servers; stop it when the block ends."""
    agent = StockAgent(script or Script(training=86_400))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        wandb_url = stack.enter_context(agent.server.running())
        aws_url = stack.enter_context(served(OwnMachineOnly(agent.aws, pages=False)))
        config = {"entity": ENTITY, "queues": [QUEUE], "max_jobs": max_jobs}
        config |= {"environment": {"type": "aws", "region": "us-east-1"}}
        (folder / "launch-config.yaml").write_text(json.dumps(config))
        environment = {
            **dict.fromkeys(_FILES, str(folder)),
            "PYTHONPATH": str(_boto3()),
            "PATH": f"{_TRAINING}:{os.environ['PATH']}",
            "WANDB_BASE_URL": wandb_url,
            "WANDB_API_KEY": API_KEY,
            "WANDB_ERROR_REPORTING": "false",
            "AWS_ENDPOINT_URL": aws_url,
            "AWS_ACCESS_KEY_ID": "bench",
            "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_REGION": "us-east-1",
        }
        log = stack.enter_context((folder / "agent.log").open("w"))
        process = subprocess.Popen(
            [str(_TRAINING / "wandb"), "launch-agent", "-c", "launch-config.yaml"],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait(lambda: bool(agent.popped_at), within=120)
            yield agent
        except TimeoutError as error:
            raise TimeoutError(
                f"{error}; the stock agent's log ends with:\n{(folder / 'agent.log').read_text()[-3000:]}"
            ) from None
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # it has started a service of its own
            process.wait()


def wait(happened: Callable[[], bool], *, within: float) -> None:
    """Wait until `happened` is true. Raises TimeoutError."""
    end = time.time() + within
    while not happened():
        if time.time() > end:
            raise TimeoutError(f"nothing happened within {within} seconds")
        time.sleep(0.01)


def _boto3() -> Path:
    """Return the folder of boto3: the training environment has none, the one with what Lambda's runtime has does."""
    (found,) = (ROOT / ".venvs/lambda").glob("lib/python*/site-packages")
    return found
