"""What no page of the console may do, and what axe-core finds on it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request

AXE = (
    Path(__file__).parents[2] / "services/console/web/node_modules/axe-core/axe.min.js"
).read_text()
_ANSWERS = re.compile(r"Failed to load resource: the server responded with a status of 4\d\d ")
"""Chromium writes each answer of 400 and above to the console; the page shows it."""


class Watched:
    """Collects the errors of a page, violations of its policy, and requests to other hosts."""

    def __init__(self, page: Page) -> None:
        self.faults: list[str] = []
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("request", self._check)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _ANSWERS.match(message.text):
            self.faults.append(f"{message.type}: {message.text}")

    def _check(self, request: Request) -> None:
        if not re.match(r"(http://127\.0\.0\.1:\d+/|data:|blob:)", request.url):
            self.faults.append(f"a request to {request.url}")


def settle(page: Page) -> None:
    """Wait until the page shows what it has asked for."""
    page.wait_for_load_state("networkidle")
    page.locator(".loading").first.wait_for(state="detached")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong with the page."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(
        """async () => (await axe.run({ resultTypes: ["violations"] })).violations.map(
          ({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => node.html) })
        )"""
    )
    return [f"{each['id']}: {each['help']}: {each['nodes']}" for each in found]


def sticks_out(page: Page) -> list[str]:
    """Return the elements that make the page wider than its window."""
    found: list[str] = page.evaluate(
        """() => document.documentElement.scrollWidth <= window.innerWidth ? [] :
        [...document.querySelectorAll('body *')]
          .filter((each) => each.getBoundingClientRect().right > window.innerWidth + 1)
          .map((each) => each.outerHTML.slice(0, 100))"""
    )
    return found


_INTERACTIVE = "a[href], button:enabled, input:enabled, select:enabled, textarea:enabled, summary, [tabindex='0']"
_WATCH = """(interactive) => {
  window.met = new Set();
  window.unseen = new Set();
  document.addEventListener('focusin', ({ target }) => {
    window.met.add(target);
    const { outlineStyle, outlineWidth } = getComputedStyle(target);
    if (outlineStyle === 'none' || parseFloat(outlineWidth) === 0) window.unseen.add(target);
  });
  const root = document.querySelector('dialog:modal') ?? document;
  window.wanted = [...root.querySelectorAll(interactive)].filter(
    (each) => each.tabIndex >= 0 && each.checkVisibility({ visibilityProperty: true })
  );
  // a date has a stop for each of its parts
  return window.wanted.length + 4 * window.wanted.filter((each) => each.type === 'date').length;
}"""
_MISSED = """() => {
  const isMet = (each) => window.met.has(each) || (
    each.type === 'radio' && [...window.met].some((met) => met.name === each.name)
  );
  const shown = (each) => each.outerHTML.slice(0, 120);
  return [
    ...window.wanted.filter((each) => !isMet(each)).map((each) => `not reached: ${shown(each)}`),
    ...[...window.unseen].map((each) => `its focus is not seen: ${shown(each)}`),
  ];
}"""


def missed_by_tab(page: Page) -> list[str]:
    """Walk through the page, or its open dialog, by Tab alone. Return the interactive elements that
    this does not reach, and those whose focus cannot be seen."""
    number: int = page.evaluate(_WATCH, _INTERACTIVE)
    for _ in range(number + 5):
        page.keyboard.press("Tab")
    missed: list[str] = page.evaluate(_MISSED)
    return missed
