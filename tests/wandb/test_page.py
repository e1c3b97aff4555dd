"""The server's addresses: who may ask, what is there, and what the page's form accepts. Its look: tests/browser."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from local.wandb import WandbServer
from local.wandb.artifacts import create_artifact, create_manifest
from local.wandb.runs import Run
from local.wandb.sweeps import upsert_sweep
from tests.wandb.client import API_KEY

SIGNED_IN = urllib3.make_headers(basic_auth=f"api:{API_KEY}")
FORM = {"queue": "sm", "project": "p", "image": "image:tag"}
MD5 = "098f6bcd4621d373cade4e832627b4f6"


@pytest.fixture(scope="module")
def server() -> WandbServer:
    server = WandbServer(entity="team", api_key=API_KEY)
    server.create_queue("sm", config={"RoleArn": "role"})
    return server


@pytest.fixture(scope="module")
def address(server: WandbServer) -> Iterator[str]:
    with server.running() as address:
        yield address


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Basic d3Jvbmc="}, 401),
        ({"Host": "evil.example.com"}, 403),
        ({"Origin": "https://evil.example.com"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_strangers_are_refused(headers: dict[str, str], status: int, address: str) -> None:
    actions = ("enqueue", "stop-run", "remove-run", "stop-item", "remove-item", "update-agent")
    for path in ("graphql", "files/team/p/r/file_stream", *(f"_local/{action}" for action in actions)):
        assert urllib3.request("POST", f"{address}/{path}", body=b"{}", headers=headers).status == status
    for path in ("state", "view/", "view/team/p/runs/r", "view/items/x", "view/aws/executions/x", "file/team/p/r/log"):
        assert urllib3.request("GET", f"{address}/_local/{path}", headers=headers).status == status
    signed = f"{address}/storage/run/x?sig=1&expires=9999999999"
    assert urllib3.request("PUT", signed, body=b"x", headers=headers).status == 403


@pytest.mark.parametrize(
    "path",
    [
        *(
            "favicon.ico",
            "api",
            "strangers/p",
            "team/p/other",
            "team/p/runs",
            "team/p/runs/r/more",
            "aws",
            "aws/executions",
        ),
        *(
            "_page/",
            "_page/page.py",
            "_page/../page.py",
            "_page/..%2fpage.py",
            "_page/%2e%2e/server.py",
            "_local/nothing",
        ),
        *("files/team/p/r", "artifacts/team", "sdk/otel/v1/metrics", "static/page.js", "_local/view"),
    ],
)
def test_an_address_that_names_nothing_is_not_found(path: str, address: str) -> None:
    answers = [
        urllib3.request(method, f"{address}/{path}", headers=SIGNED_IN, body=b"{}") for method in ("GET", "POST")
    ]
    assert answers[0].status == 404
    assert answers[1].status in (404, 405)  # 405: an address of this form can be read
    assert not [answer for answer in answers if b"<html" in answer.data]


@pytest.mark.parametrize(
    "path", ["", "team/p", "team/p/workspace", "team/p/runs/r", "local-user/p", "aws/executions/x"]
)
def test_an_address_of_the_page_is_the_same_for_everyone_and_can_run_only_its_own_scripts(
    path: str, address: str
) -> None:
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}
    answer = urllib3.request("GET", f"{address}/{path}", headers=typed)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == ("'none'", "'self'", "'none'")
    assert answer.data == urllib3.request("GET", f"{address}/", headers=typed).data
    assert b"<script>" not in answer.data
    assert b"style=" not in answer.data


def test_the_views_show_everything_but_keys(server: WandbServer, address: str) -> None:
    own = {**SIGNED_IN, "Sec-Fetch-Site": "same-origin", "Origin": address, "Referer": f"{address}/"}
    item = server.push("sm", {"entity": "team", "project": "p", "_wandb_api_key": API_KEY, "name": f"key {API_KEY}"})
    overview = urllib3.request("GET", f"{address}/_local/view/", headers=own)
    spec = urllib3.request("GET", f"{address}/_local/view/items/{item}", headers=own)
    assert overview.json()["queues"][0]["items"][0]["state"] == "queued"
    assert overview.json()["queues"][0]["items"][0]["name"] == "key (the API key)"
    assert json.loads(spec.json()["spec"])["_wandb_api_key"] == "(not shown)"
    assert API_KEY not in (overview.data + spec.data).decode()


@pytest.mark.parametrize(
    "spec", [[], "text", 1, None, {"entity": 1, "project": []}, {"docker": [], "job": {}, "name": []}]
)
def test_an_item_of_any_form_is_shown(spec: Any, server: WandbServer, address: str) -> None:
    item = server.state.items[server.push("sm", {})]
    item.run_spec, item.associated_run_id = spec, "r"
    item.error = {"message": None, "stage": None, "filePaths": None}
    assert urllib3.request("GET", f"{address}/_local/view/", headers=SIGNED_IN).status == 200
    assert urllib3.request("GET", f"{address}/_local/view/items/{item.id}", headers=SIGNED_IN).status == 200


@pytest.mark.parametrize("value", [math.nan, -math.inf, 10**5_000, True], ids=["nan", "infinite", "long", "true"])
def test_a_sweep_of_any_form_is_shown(value: Any, server: WandbServer, address: str) -> None:
    rates = {"method": "random", "name": ["x"], "metric": {"name": {"a": 1}}, "parameters": {"rate": {"value": 1}}}
    given = {"entityName": "team", "projectName": "p", "config": json.dumps(rates)}
    sweep = upsert_sweep(server.state, given)
    run = sweep.next_run()
    assert run
    run.summary = {sweep.metric[0]: value}
    answer = urllib3.request("GET", f"{address}/_local/view/", headers=SIGNED_IN)
    sweeps = json.loads(answer.data, parse_constant=pytest.fail)["sweeps"]
    shown = next(each for each in sweeps if each["id"] == sweep.id)
    assert shown["made"] == 1
    assert shown["best"] is None if value != value else len(shown["best"]["value"]) <= 50  # NaN is not the best


@pytest.mark.parametrize(("state", "said"), [("FINISHED", 200), ("RUNNING", 400), ("nonsense", 400), (None, 400)])
def test_a_sweep_that_has_ended_is_not_changed(state: Any, said: int, server: WandbServer, address: str) -> None:
    config = json.dumps({"parameters": {"rate": {"values": [1]}}})
    sweep = upsert_sweep(server.state, {"entityName": "team", "projectName": "p", "config": config})
    if said != 200:
        sweep.change("CANCELED")
    given = json.dumps({"id": sweep.id, "state": state})
    answer = urllib3.request("POST", f"{address}/_local/change-sweep", headers=SIGNED_IN, body=given)
    assert (answer.status, sweep.state) == (said, "FINISHED" if said == 200 else "CANCELED")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[Any, ...] = (None, 1, "text", [], {}, [1], {"a": None}, float("nan"), 10**5000, "\ud800", nested(900))


@pytest.mark.parametrize("value", ODD, ids=lambda value: str(type(value).__name__))
def test_a_run_of_any_content_is_shown(value: Any, server: WandbServer, address: str) -> None:
    project = server.state.project("team", "odd")
    run = project.runs_by_id["r"] = Run("r", project, 1)
    run.config_values, run.summary = {"wrapped": {"value": value}, "plain": value}, {"a": value, "_b": value}
    run.rows, run.log_lines = [value, {"_step": value, "x": value, "y": {"z": value}, "good": 1.5}], [value, "a line"]
    for path in ("", "team/odd", "team/odd/runs/r"):
        answer = urllib3.request("GET", f"{address}/_local/view/{path}", headers=SIGNED_IN)
        assert answer.status == 200, path
    known = answer.json()
    assert [chart["points"][-1][1] for chart in known["charts"] if chart["name"] == "good"] == [1.5]
    assert known["log"]["lines"][-1] == "a line"
    run.config_values, run.summary = value, value
    assert urllib3.request("GET", f"{address}/_local/view/team/odd/runs/r", headers=SIGNED_IN).status == 200


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b'{"contents": [1]}',
        b'{"contents": {"f": 1}}',
        b'{"contents": {"f": {"size": "x", "ref": 1}}}',
    ],
)
def test_an_artifact_of_any_content_is_shown(manifest: bytes, server: WandbServer, address: str) -> None:
    project = server.state.project("team", "artifacts")
    run = project.runs_by_id["r"] = Run("r", project, 1)
    names = {"entityName": "team", "projectName": "artifacts"}
    collection = {"artifactTypeName": "t", "artifactCollectionName": "c"}
    artifact = create_artifact(server.state, {**names, **collection, "digest": str(manifest)})
    file = create_manifest(server.state, {"artifactID": artifact.id, "name": "m", "digest": "d"}).file
    server.state.storage[file.path] = manifest
    artifact.commit()
    run.used_artifacts.append(artifact)
    known = urllib3.request("GET", f"{address}/_local/view/team/artifacts/runs/r", headers=SIGNED_IN).json()
    assert known["used"][0]["size"] == 0


def test_a_line_that_the_client_sent_with_its_time_and_level_is_shown_as_it_was_printed(
    server: WandbServer, address: str
) -> None:
    project = server.state.project("team", "p")
    sent = {"level": "error", "ts": "2026-11-26T23:10:38.665428", "content": '  File "train.py", line 3'}
    printed = '{"content": "a line that the run printed"}'
    project.runs_by_id["lines"] = run = Run("lines", project, 1)
    run.log_lines = [json.dumps(sent), printed]
    known = urllib3.request("GET", f"{address}/_local/view/team/p/runs/lines", headers=SIGNED_IN).json()
    assert known["log"]["lines"] == [sent["content"], printed]


def test_a_long_history_and_a_long_log_are_bounded(server: WandbServer, address: str) -> None:
    project = server.state.project("team", "long")
    run = project.runs_by_id["r"] = Run("r", project, 1)
    run.rows, run.log_lines = [{"x": number} for number in range(50_000)], [str(number) for number in range(50_000)]
    (small,) = urllib3.request("GET", f"{address}/_local/view/team/long", headers=SIGNED_IN).json()["runs"][0]["charts"]
    known = urllib3.request("GET", f"{address}/_local/view/team/long/runs/r", headers=SIGNED_IN).json()
    assert len(small["points"]) <= 41
    assert len(known["charts"][0]["points"]) <= 301
    assert small["points"][-1][1] == known["charts"][0]["points"][-1][1] == 49_999
    assert (known["log"]["first"], known["log"]["lines"][-1]) == (48_000, "49999")


def test_a_person_queues_a_run_with_the_form(server: WandbServer, address: str) -> None:
    answer = urllib3.request("POST", f"{address}/_local/enqueue", json=FORM, headers=SIGNED_IN)
    item = server.state.items[answer.json()["runQueueItemId"]]
    assert item.run_spec["docker"] == {"docker_image": "image:tag"}


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"queue": "other"}, "queue"),
        ({"project": ""}, "project"),
        ({"project": "a/b"}, "project"),
        ({"image": ""}, "image"),
        ({"job": "team/p/j:latest"}, "job"),
        ({"image": "", "job": "team/p/j:latest"}, "job"),
        ({"image": "", "job": "j"}, "job"),
        ({"entry_point": "'"}, "entry_point"),
        ({"args": '"'}, "args"),
        ({"run_config": "{"}, "run_config"),
        ({"run_config": "[" * 100_000}, "run_config"),
        ({"resource_args": "3"}, "resource_args"),
        ({"priority": "1"}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"variables": "x"}, "variables"),
    ],
)
def test_a_fault_of_the_form_is_named_by_its_field(form: dict[str, str], field: str, address: str) -> None:
    answer = urllib3.request("POST", f"{address}/_local/enqueue", json={**FORM, **form}, headers=SIGNED_IN)
    assert answer.status == 400
    assert list(answer.json()["faults"]) == [field]
    assert answer.json()["faults"][field].endswith((".", ":"))


def test_a_template_variable_is_a_field_of_the_form(server: WandbServer, address: str) -> None:
    queue = server.create_queue("templates", config={})
    config = server.state.resource_configs[queue.default_resource_config_id or ""]
    config.variables = {"size": {"schema": {"type": "integer", "minimum": 1}}}
    config.config = {"resource_args": {"sagemaker": {"Size": "{{size}}"}}}
    form = {**FORM, "queue": "templates"}
    wrong = urllib3.request("POST", f"{address}/_local/enqueue", json=form, headers=SIGNED_IN)
    assert list(wrong.json()["faults"]) == ["variables"]
    right = {**form, "variables": '{"size": 2}'}
    answer = urllib3.request("POST", f"{address}/_local/enqueue", json=right, headers=SIGNED_IN)
    assert server.state.items[answer.json()["runQueueItemId"]].run_spec["resource_args"]["sagemaker"] == {"Size": 2}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"1", b"null", b"\xff", b"[" * 100_000, b'{"id": 1}', b'{"id": "x"}']
)
@pytest.mark.parametrize("action", ["enqueue", "stop-run", "remove-run", "stop-item", "remove-item", "update-agent"])
def test_an_action_that_makes_no_sense_is_refused(action: str, body: bytes, address: str) -> None:
    assert urllib3.request("POST", f"{address}/_local/{action}", body=body, headers=SIGNED_IN).status == 400


@pytest.mark.parametrize(
    "path",
    [
        f"artifacts/team/{MD5}",
        f"artifactsV2/default/team/p/data/QXJ0aWZhY3Q6MTA=/{MD5}/d.txt",
        f"artifactsV2/default/team/p/data//{MD5}/d.txt",
        f"artifactsV2/us-east-1/team/p%20q/data/a%2Fb/c/{MD5}/a%20name.txt",
    ],
)
def test_a_file_of_an_artifact_is_at_every_address_that_clients_use(
    path: str, server: WandbServer, address: str
) -> None:
    server.state.storage[f"artifact/team/{MD5}"] = b"test"
    assert urllib3.request("GET", f"{address}/{path}", headers=SIGNED_IN).data == b"test"
    assert urllib3.request("GET", f"{address}/{path}").status == 401
    assert urllib3.request("GET", f"{address}/{path.replace(MD5, '0' * 32)}", headers=SIGNED_IN).status == 404
