"""The page of the local W&B server, in Chromium."""

import re
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.browser.sample import ENTITY, PROJECT, Sample
from tests.wandb.client import API_KEY

pytestmark = pytest.mark.browser

World = tuple[Sample, str]
RUN = "/team/demo/runs/digits02"
VIEWS = ("/", "/team/demo", "/team/demo/runs/digits01", RUN)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
MARKUP = "<img src=x onerror=alert(1)>"

CONTRAST = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).slice(0, 3)
      .map((each) => each / 255).map((each) => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const color = getComputedStyle(node).backgroundColor;
    return color === "rgba(0, 0, 0, 0)" && node.parentElement ? behind(node.parentElement) : color;
  };
  const seen = (node) => node.checkVisibility() && !node.matches(":disabled, option");
  const texts = [...document.querySelectorAll("body *")].filter((node) => seen(node)
    && [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim()));
  return texts.map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.textContent.slice(0, 40)];
  }).filter(([ratio]) => ratio < 4.5);
}"""


def row(page: Page, name: str, section: str = "queue-sagemaker") -> Any:
    return page.locator(f"#{section} tbody tr", has_text=name)


def test_the_key_is_taken_from_the_address_and_is_never_shown(open_page: Open, world: World) -> None:
    made, address = world
    made.push(name="brings a key", _wandb_api_key=API_KEY, project=f"a{API_KEY}")
    page = open_page()
    row(page, "brings a key").get_by_role("button", name="Spec").click()
    expect(page.locator("#file-text")).to_contain_text("docker_image")
    assert API_KEY not in page.content()
    assert API_KEY not in page.url
    page.goto(f"{address}/team/demo")  # a later visit knows the key
    page.wait_for_selector("h2")


def test_without_the_key_the_page_says_where_it_is_and_shows_nothing(open_page: Open) -> None:
    page = open_page("/", key="a-wrong-key")
    expect(page.locator("h1")).to_have_text("This page needs the key")
    assert page.locator("section").count() == 0
    page.evaluate(f"location.hash = '{API_KEY}'")  # the right address in the same tab loads nothing again
    page.wait_for_selector("h2")


def test_names_come_before_ids_and_all_has_a_time(open_page: Open) -> None:
    page = open_page()
    first = page.locator("#runs tbody tr").first.locator("td").first
    assert [line for line in first.inner_text().splitlines() if line] == ["digits, wider", "demo / digits02"]
    rows = page.locator("tbody tr").count()
    assert page.locator("tbody time").count() == rows == 8
    moment = page.locator("tbody time").first
    assert re.fullmatch(r"\d+ s ago", moment.inner_text())
    assert re.search(r"\d:\d\d", moment.get_attribute("title") or "")


def test_nothing_is_green_before_it_has_succeeded(open_page: Open) -> None:
    page = open_page()
    states = page.locator(".state").evaluate_all(
        "all => all.map((each) => [each.textContent, getComputedStyle(each).color])"
    )
    assert {word for word, _ in states} == {"queued", "leased", "failed", "running", "finished", "polling"}
    green = [word for word, color in states if _is_green(color)]
    assert green == ["finished", "finished"]


def _is_green(color: str) -> bool:
    red, green, blue = map(int, re.findall(r"\d+", color)[:3])
    return green > red and green > blue


def test_a_refresh_changes_only_what_has_changed(open_page: Open, world: World) -> None:
    page = open_page(RUN)
    world[0].post("digits02", lines=[f"epoch {number}" for number in range(1, 80)])
    log = page.locator("#log .log")
    expect(log.get_by_text("epoch 79", exact=True)).to_be_attached()
    assert log.evaluate("it => it.scrollHeight - it.scrollTop - it.clientHeight") < 8, "the log follows its end"
    page.locator("#launch details").evaluate("it => { it.open = true }")
    page.get_by_role("button", name="Remove").focus()
    page.evaluate(
        """() => {
          const line = [...document.querySelectorAll("#log .log div")].find((each) => each.textContent === "epoch 7");
          getSelection().selectAllChildren(line);
          document.querySelector("#log .log").scrollTop = 40;
          scrollTo(0, 120);
        }"""
    )
    world[0].post("digits02", rows=12, lines=["epoch 80"], exitcode=0)
    expect(page.locator("h1")).to_contain_text("finished")
    expect(log.get_by_text("epoch 80", exact=True)).to_be_attached()
    assert page.evaluate(
        """() => [getSelection().toString(), document.activeElement.textContent, scrollY,
                  document.querySelector("#log .log").scrollTop, document.querySelector("#launch details").open]"""
    ) == ["epoch 7", "Remove", 120, 40, True]


def test_a_removed_row_leaves_the_others_as_they_are(open_page: Open, world: World) -> None:
    page = open_page()
    world[0].do("stopRun", id=world[0].server.state.runs[ENTITY, PROJECT, "digits02"].id)
    button = row(page, "item 2").get_by_role("button", name="Remove")
    button.focus()
    item = next(each for each in world[0].queue.items.values() if each.run_spec["name"] == "item 3")
    world[0].do("deleteFromRunQueue", queueID=world[0].queue.id, runQueueItemId=item.id)
    world[0].push(name="a new one")
    expect(row(page, "a new one")).to_be_visible()
    expect(row(page, "item 3")).to_have_count(0)
    expect(button).to_be_focused()


def test_the_form_says_which_field_is_wrong_and_queues_what_is_right(open_page: Open, world: World) -> None:
    page = open_page()
    page.get_by_role("button", name="Queue a run").click()
    page.get_by_label("Project").fill("a/b")
    page.get_by_label("or job").fill("team/demo/nothing:latest")
    page.get_by_label("Docker image").fill("image:tag")
    page.get_by_label("Arguments").fill("'unclosed")
    page.get_by_label("Config of the run").fill('{"epochs": }')
    page.get_by_label("Overrides of the queue").fill("[1]")
    page.get_by_role("button", name="Queue run", exact=True).click()
    wrong = page.locator("[aria-invalid=true]")
    expect(wrong).to_have_count(5)
    faults = wrong.evaluate_all(
        "all => all.map((it) => [it.name, document.getElementById(it.getAttribute('aria-describedby')).textContent])"
    )
    assert dict(faults) == {
        "project": "Enter a name of up to 128 characters, without any of / \\ # ? % :",
        "job": 'There is no job "team/demo/nothing:latest". Enter it as entity/project/name:alias.',
        "args": "No closing quotation: use quotes as in a shell.",
        "run_config": "This is not JSON. Line 1, column 12: Expecting value.",
        "resource_args": 'Enter a JSON object, for example {"epochs": 3}.',
    }
    expect(page.locator("[name=project]")).to_be_focused()
    right = {"project": "mine", "job": "", "args": "--name 'a b'", "name": "by hand", "run_config": '{"epochs": 3}'}
    for field, text in {**right, "resource_args": ""}.items():
        page.locator(f"#form [name={field}]").fill(text)
    page.get_by_label("Priority").select_option("1")
    page.get_by_role("button", name="Queue run", exact=True).click()
    expect(row(page, "by hand")).to_contain_text("queued")
    expect(page.locator("#form")).to_be_hidden()
    item = list(world[0].queue.items.values())[-1]
    assert item.priority == 1
    assert item.run_spec == {
        "entity": "team",
        "project": "mine",
        "git": {},
        "docker": {"docker_image": "image:tag"},
        "name": "by hand",
        "overrides": {"args": ["--name", "a b"], "run_config": {"epochs": 3}},
        "resource": "sagemaker",
        "resource_args": {"sagemaker": {"RoleArn": "role"}},
    }


def test_every_item_can_be_stopped_and_removed_or_says_why_not(open_page: Open, world: World) -> None:
    page, (made, _) = open_page(), world
    for item in ("item 4", "item 3", "item 2", "digits, wider", "digits of the baseline"):
        expect(row(page, item).get_by_role("button", name="Remove")).to_be_enabled()
        stop = row(page, item).get_by_role("button", name="Stop")
        assert stop.is_enabled() or stop.get_attribute("title")
    row(page, "digits, wider").get_by_role("button", name="Stop").click()
    expect(row(page, "digits, wider", "runs").get_by_role("button", name="Stopping")).to_be_visible()
    assert made.server.state.runs[ENTITY, PROJECT, "digits02"].stopped
    row(page, "item 4").get_by_role("button", name="Remove").click()
    page.locator("#sure").get_by_role("button", name="Cancel").click()
    assert len(made.queue.items) == 5
    row(page, "item 4").get_by_role("button", name="Remove").click()
    page.locator("#sure").get_by_role("button", name="Remove").click()
    expect(row(page, "item 4")).to_have_count(0)
    assert len(made.queue.items) == 4


def test_a_sweep_has_its_runs_and_best_value_and_is_paused_resumed_stopped_and_canceled(
    open_page: Open, world: World
) -> None:
    made, _ = world
    grid, other = (made.sweep(name) for name in ("rates", "other rates"))
    page = open_page()
    shown = row(page, "rates", "sweeps").filter(has_not_text="other")
    expect(shown).to_contain_text("0 of 3")
    for rate, loss in ((0.1, 0.5), (0.2, 0.25)):
        run = grid.next_run()
        assert run
        assert run.config_values["rate"]["value"] == rate
        run.summary["loss"] = loss
    expect(shown).to_contain_text("2 of 3")
    expect(shown.get_by_role("cell").nth(3)).to_contain_text("loss 0.25")
    shown.locator("summary").click()
    expect(shown.locator("details p")).to_have_count(2)
    shown.get_by_role("button", name="Pause").click()
    expect(shown).to_contain_text("paused")
    assert grid.next_run() is None
    shown.get_by_role("button", name="Resume").click()
    expect(shown).to_contain_text("running")
    shown.get_by_role("button", name="Cancel").click()
    page.locator("#sure").get_by_role("button", name="Cancel").last.click()
    expect(shown).to_contain_text("canceled")
    assert all(run.stopped for run in grid.made)
    expect(shown.get_by_role("button", name="Pause")).to_be_disabled()
    row(page, "other rates", "sweeps").get_by_role("button", name="Stop").click()
    expect(row(page, "other rates", "sweeps")).to_contain_text("finished")
    assert other.state == "FINISHED"
    page.goto(f"{page.url}team/demo")
    expect(page.locator("#sweeps tbody tr")).to_have_count(2)


def test_the_page_of_a_run_shows_all_of_it(open_page: Open, world: World) -> None:
    made, _ = world
    run = made.server.state.runs[ENTITY, PROJECT, "digits01"]
    for name, content in (("notes.txt", b"a file\n"), ("model.bin", b"\x00\x01")):
        made.server.state.storage[run.file(name).path] = content
    used, logged = (_artifact(made, name, "model") for name in ("weights", "classifier"))
    run.used_artifacts.append(used)
    logged.created_by = run
    made.server.state.runs[ENTITY, PROJECT, "digits02"].used_artifacts.append(logged)
    page = open_page("/team/demo/runs/digits01")
    expect(page.locator("h1")).to_have_text("digits of the baseline finished")
    charts = page.locator("#charts svg").evaluate_all("all => all.map((each) => each.getAttribute('aria-label'))")
    assert charts == ["accuracy: 0 to 0.9776, now 0.9776", "loss: 0.1969 to 2.4, now 0.1969"]
    expect(page.locator("#log .log div")).to_have_count(60)
    expect(page.locator("#summary dt")).to_have_text(["accuracy", "loss"])
    expect(page.locator("#config dd")).to_have_text(["20", "0.02"])
    expect(page.locator("#lineage")).to_contain_text("weights:v0")
    expect(page.locator("#lineage")).to_contain_text("classifier:v0")
    expect(page.locator("#lineage").get_by_role("link", name="digits, wider")).to_have_attribute("href", RUN)
    expect(page.locator("#launch dd").first).to_have_text("sagemaker")
    expect(page.locator("#files td:first-child")).to_have_text(["model.bin", "notes.txt"])
    page.get_by_role("button", name="notes.txt").click()
    expect(page.locator("#file-text")).to_have_text("a file\n")
    with page.expect_download() as download:
        page.locator("#file-save").click()
    assert download.value.path().read_bytes() == b"a file\n"


def _artifact(made: Sample, name: str, kind: str) -> Any:
    given = {"entityName": ENTITY, "projectName": PROJECT, "artifactTypeName": kind, "digest": name}
    made.do("createArtifact", **given, artifactCollectionName=name, digestAlgorithm="MANIFEST_MD5")
    artifact = list(made.server.state.artifacts.values())[-1]
    made.do("commitArtifact", artifactID=artifact.id)
    return artifact


def test_what_a_run_says_is_text(open_page: Open, world: World) -> None:
    made, _ = world
    spec = {"name": MARKUP, "project": MARKUP, "docker": {"docker_image": MARKUP}}
    item = made.server.state.items[made.push(**spec)]
    made.do("failRunQueueItem", runQueueItemId=item.id, stage=MARKUP, message=f"{MARKUP}\n{MARKUP}")
    made.start(
        "hostile1",
        name=MARKUP,
        config={MARKUP: MARKUP, "link": "javascript://a.example/%0aalert(1)", "site": "https://a.example"},
    )
    made.post("hostile1", lines=[MARKUP, "\x1b[31mred\x1b[0m", "10%\r20%\r"])
    run = made.server.state.runs[ENTITY, PROJECT, "hostile1"]
    run.tags, run.summary = [MARKUP], {"nan": float("nan"), "lone": "\ud800", "long": 10**5000, "deep": _nested(900)}
    run.rows = [{MARKUP: 1.0, "inf": float("inf"), "huge": 10**400, "_step": 10**400}]
    page = open_page()
    assert page.get_by_text(MARKUP).count() >= 4
    page.goto(f"{world[1]}/team/demo/runs/hostile1")
    expect(page.locator("#log .log div")).to_have_text([MARKUP, "red", "20%"])
    expect(page.locator("#config dd")).to_have_text([MARKUP, "javascript://a.example/%0aalert(1)", "https://a.example"])
    links = page.locator("main dd a").evaluate_all("all => all.map((each) => [each.getAttribute('href'), each.rel])")
    assert ["https://a.example", "noreferrer noopener"] in links
    assert not [link for link, _ in links if link.startswith("javascript")]
    assert page.locator("main img, main script").count() == 0


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_narrow_screen_shows_all_without_scrolling_sideways(open_page: Open, world: World) -> None:
    world[0].start("long1", name="a_name_without_any_space_" * 8, config={"key_" * 20: "value_" * 50})
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    for path in (*VIEWS, "/team/demo/runs/long1"):
        page.goto(f"{world[1]}{path}")
        page.wait_for_selector("h2")
        assert page.evaluate("document.scrollingElement.scrollWidth") == 390, path
    page.goto(world[1])
    page.get_by_role("button", name="Queue a run").click()
    box = page.locator("#form").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390


def test_every_text_can_be_read_in_light_and_in_dark(open_page: Open, world: World) -> None:
    page = open_page()
    for path in ("/", RUN):
        page.goto(f"{world[1]}{path}")
        page.wait_for_selector("h2")
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(CONTRAST) == []
            red = int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])
            assert (red < 60) is (scheme == "dark")


def test_the_page_of_a_run_that_has_not_finished_begins_with_what_its_queue_item_says(
    open_page: Open, world: World
) -> None:
    items = [item for item in world[0].server.state.items.values() if item.associated_run_id]
    for item in items:
        item.warnings.append({"message": "waiting for quota", "stage": "run", "filePaths": []})
        item.warnings.append({"message": "FileNotFoundError: train.csv", "stage": "run", "filePaths": []})
    page = open_page("/team/demo/runs/digits02")
    expect(page.locator(".title .note")).to_have_text("FileNotFoundError: train.csv stage run", use_inner_text=True)
    expect(page.locator("#launch .note")).to_have_count(2)
    expect(open_page("/team/demo/runs/digits01").locator(".title .note")).to_have_count(0)


def test_a_run_that_does_not_exist_yet_appears_when_it_does(open_page: Open, world: World) -> None:
    page = open_page()
    page.goto(f"{world[1]}/team/demo/runs/later1")
    expect(page.locator("h1")).to_have_text("Nothing is here")
    world[0].start("later1", name="a later run")
    expect(page.locator("h1")).to_have_text("a later run running")


def test_the_page_says_when_the_server_does_not_answer(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Queue a run").click()
    page.context.set_offline(True)
    expect(page.locator("#said")).to_have_text("The server does not answer.")
    page.get_by_role("button", name="Queue run", exact=True).click()
    expect(page.locator("#form-said")).to_have_text("The server does not answer.")
    page.context.set_offline(False)
    expect(page.locator("#said")).to_have_text("")
    expect(page.locator("#runs")).to_be_visible()
