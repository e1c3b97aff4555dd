"""`make screenshots`: takes the pictures in docs/images: of `make local`, and of the page and `make watch`."""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console

from local.demo.demo import image_of, run_demo, sweep_demo
from local.launches import Launches
from local.stack import DEMO_KEY, ROOT, STACK_NAME, Deployed, LocalCloud, WandbLogin, deploy, embedded_cloud
from local.wandb import WandbServer
from local.wandb.runs import Run
from tests.browser.conftest import chromium
from tests.browser.terminal_screen import shown_by

IMAGES = ROOT / "docs/images"
_PATIENCE_SECONDS = 120
_MOST_BYTES = 150_000
_WIDE: dict[str, Any] = {"width": 1140, "height": 860}
_TALL: dict[str, Any] = {"width": 1140, "height": 940}
_NARROW: dict[str, Any] = {"width": 390, "height": 844}


def main() -> None:
    """Run the demo, leave one more run in progress, and take the pictures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "user").mkdir()
        server = WandbServer(entity="team", api_key=DEMO_KEY)
        server.create_queue("sagemaker", config={})
        wandb = WandbLogin(stack.enter_context(server.running()), "team", "sagemaker", DEMO_KEY)
        cloud = stack.enter_context(embedded_cloud(folder, speed=10, container_tool="none"))
        console = Console()
        deployed = deploy(cloud, wandb, max_jobs=4, grace_seconds=6, console=console)
        server.page.aws = Launches(deployed)
        run_demo(deployed, folder / "user", None, console)
        sweep_demo(deployed, folder / "user", console)
        finished = next(run for run in server.state.runs.values() if run.state == "finished" and len(run.rows) == 8)
        _leave_a_run_in_progress(server, deployed)
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
        _take_watch(browser, cloud)
        execution = _execution_of(server, finished)
        IMAGES.mkdir(exist_ok=True)
        for name, path, options in (
            ("page", "/", {"viewport": _WIDE}),
            ("page-dark", "/", {"viewport": _WIDE, "color_scheme": "dark"}),
            ("page-narrow", "/", {"viewport": _NARROW}),
            ("run", f"/team/demo/runs/{finished.name}", {"viewport": _TALL}),
            ("execution", f"/aws/executions/{execution}", {"viewport": _WIDE}),
        ):
            _take(browser, f"{wandb.url}{path}", IMAGES / f"{name}.png", options)
        _take_local(browser)
        browser.close()


def _take_watch(browser: Browser, cloud: LocalCloud) -> None:
    """Take the picture of `make watch`, while one run trains and the next one waits."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WANDB_"))}
    environment = {**kept, **cloud.environment, "PYTHONPATH": f"{ROOT / 'layers/launch_agent'}:{ROOT}"}
    command = [sys.executable, "-m", "operate", "watch", "--stack", STACK_NAME]
    with shown_by(command, environment, lambda text: "the next one" in text, within=30) as content:
        _take_text(browser, content, IMAGES / "watch.png")


def _take_local(browser: Browser) -> None:
    """Take the picture of the end of `make local`, when it asks whether to stay."""
    command = [sys.executable, "-m", "local", "demo"]
    begins = "trains a classifier of digits"
    with shown_by(command, os.environ, lambda text: "Keep it running" in text, within=600, begins=begins) as content:
        _take_text(browser, content, IMAGES / "local.png")


def _leave_a_run_in_progress(server: WandbServer, deployed: Deployed) -> None:
    """Queue a long run, and wait for its first metrics; then queue one more."""
    image = deployed.cloud.put_image("demo:train", image_of("train.py"))
    spec = {"entity": "team", "project": "demo", "docker": {"docker_image": image}}
    item = server.push("sagemaker", {**spec, "name": "a longer run", "overrides": {"run_config": {"epochs": 20_000}}})

    def started() -> bool:
        name = server.state.items[item].associated_run_id
        run = server.state.runs.get(("team", "demo", name or ""))
        return bool(run and run.rows)

    _wait_for(started)
    server.push("sagemaker", {**spec, "name": "the next one"})


def _execution_of(server: WandbServer, run: Run) -> str:
    item = next(each for each in server.state.items.values() if each.associated_run_id == run.name)
    launched = server.page.aws.of_item(item.id) if server.page.aws else None
    assert launched
    return str(launched["executions"][0]["name"])


def _wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit("The run has logged no metrics in time.")
        time.sleep(0.2)


def _take(browser: Browser, url: str, path: Path, options: dict[str, Any]) -> None:
    with browser.new_context(**options) as context:
        page = context.new_page()
        page.goto(f"{url}#{DEMO_KEY}")
        page.wait_for_selector("h2")
        page.screenshot(path=path)
    _check(path)


def _take_text(browser: Browser, content: str, path: Path) -> None:
    page = browser.new_page()
    page.set_content(content)
    page.locator("body").screenshot(path=path)
    page.close()
    _check(path)


def _check(path: Path) -> None:
    assert path.stat().st_size < _MOST_BYTES, f"{path} is too large"
    print(path.relative_to(ROOT), f"{path.stat().st_size // 1000} kB")  # noqa: T201 - a command


if __name__ == "__main__":
    main()
