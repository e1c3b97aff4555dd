"""One Chromium for all tests; each test has its own server and its own window."""

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.sample import Sample, sample
from tests.wandb.client import API_KEY

Open = Callable[..., Page]


def chromium() -> str:
    """Return the path of Chromium. Fails if this machine has none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path, "These tests need Chromium: on Debian, apt install chromium"
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    # Chromium's own sandbox does not work for root; the pages are ours.
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
        yield running
        running.close()


@pytest.fixture
def world() -> Iterator[tuple[Sample, str]]:
    """A server with runs in several states, and its address."""
    made = sample(API_KEY)
    with made.server.running() as address:
        yield made, address


@pytest.fixture
def open_page(browser: Browser, world: tuple[Sample, str]) -> Iterator[Open]:
    """Open a path of the page in a new window, with the key. Fails at the end if a page has reported a fault."""
    faults: list[str] = []
    contexts = []

    def open_it(path: str = "/", *, key: str = API_KEY, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.goto(f"{world[1]}{path}#{key}")
        if key == API_KEY:
            page.wait_for_selector("h2")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert [fault for fault in faults if "Failed to load resource" not in fault] == []
