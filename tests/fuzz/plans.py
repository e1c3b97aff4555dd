"""Run specs, jobs and launch-config.yaml from people and W&B, and the plans made from them."""

import json
from typing import Any

from hypothesis import strategies as st

from launch_agent.clients.service_model import create_training_job_shape
from launch_agent.image.recipe import ArtifactCode
from launch_agent.plan.launch_plan import plan_launch
from launch_agent.plan.source import Job
from launch_agent.run_queue.items import QueueItem, parse_run_spec
from launch_agent.run_queue.job_artifact import parse_job_artifact
from launch_agent.run_queue.launch_config import parse_launch_config
from tests.fuzz.values import ANY, DEEP, Parsers, changed
from tests.golden.cases import CASES, load
from tests.make import agent, item_ref

SHAPE = create_training_job_shape()
SPECS = [load(case, "run_spec.json") for case in CASES]
JOBS = [job for case in CASES if (job := load(case, "wandb-job.json"))]
POLICY = "{images: [a], inputs: [], tags: {a: b}, max_instances: 0, git_remotes: [], require_vpc: true, arguments: []}"
CONFIGS = ["queues: [sm]", f"{{queues: [sm], secure_mode: true, builder: {{type: docker}}, policy: {POLICY}}}"]


def fuzz_run_spec(raw: Any) -> object:
    """Parse a run spec, and plan its run."""
    item = QueueItem(id="item", run_spec=raw)
    ref = item_ref(item.id, run_id=item.run_id)
    spec = parse_run_spec(raw)
    return [plan_launch(spec, None, ref, agent(text), {}) for text in CONFIGS]


def fuzz_job(description: Any) -> object:
    """Parse a job's manifest, and plan a run of the job."""
    artifact = parse_job_artifact("team/jobs/job:v0", description, artifact_id="job", digest="d")
    spec = parse_run_spec({**load("code-job", "run_spec.json"), "run_id": "abc"})
    ref = item_ref(run_id="abc")
    job = Job(artifact, ArtifactCode(artifact_id="code", digest="c"))
    return plan_launch(spec, job, ref, agent(CONFIGS[0]))


def fuzz_launch_config(content: str | bytes) -> object:
    """Parse a launch-config.yaml, and use it."""
    config = parse_launch_config(content)
    return config.fingerprint, list(config.warnings()), config.image_destination, config.model_dump_json()


YAML_PIECES = [
    *(
        "queues",
        "queue",
        "builder",
        "registry",
        "environment",
        "max_jobs",
        "launchConfig",
        ": ",
        "- ",
        "\n",
        "  ",
        ", ",
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        "a",
        "5",
        "-1",
        "1e999",
        "0x1F",
        "1:2",
        "2024-01-01",
        "2024-99-99",
        "null",
        "~",
        ".nan",
        "<<",
    ),
    *(
        "*x",
        "&x ",
        "? ",
        "| ",
        "> ",
        "!!set ",
        "!!int ",
        "!!bool ",
        "!!timestamp ",
        "!!binary ",
        "!x ",
        '"',
        "'",
        "yes",
    ),
    *("#", "%", "@", "`", "\t", "\0", "\ufeff", "é", "\U0001f600", "---\n", "...\n"),
]
YAML = st.lists(st.sampled_from(YAML_PIECES), max_size=40).map("".join)
CONFIG = {
    "entity": "team",
    "queues": ["a", "b"],
    "queue": "c",
    "max_jobs": 4,
    "secure_mode": True,
    "environment": {"type": "aws", "region": "us-east-1", "profile": "x"},
    "registry": {"type": "ecr", "uri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/launch", "repository": "r"},
    "builder": {"type": "kaniko", "build-context-store": "s3://b/c", "platform": "linux/arm64"},
}
PARSERS: Parsers = {
    "run specs": (ANY | DEEP | changed(SPECS), fuzz_run_spec),
    "job manifests": (ANY | DEEP | changed(JOBS), fuzz_job),
    "launch-config.yaml": (
        YAML | st.binary(max_size=200) | st.text(max_size=200) | changed([CONFIG], ANY).map(json.dumps),
        fuzz_launch_config,
    ),
}
