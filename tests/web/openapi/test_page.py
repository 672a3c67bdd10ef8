"""The page at /docs/: it says everything, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from html import unescape

import pytest
import pytest_twisted

from sbm.web.description import describe
from sbm.web.openapi.page import render
from tests.web.conftest import Api

DESCRIPTION = describe("1.2.3")
PAGE = render(DESCRIPTION)
HTML = PAGE.html.decode("utf-8")
# HEAD is GET without its body, and OPTIONS is the same everywhere: said once, at the top.
SHOWN = ("get", "post", "put", "patch", "delete")


def test_every_operation_is_on_the_page_with_its_parameters_and_statuses() -> None:
    for item in DESCRIPTION["paths"].values():
        for method in set(SHOWN) & item.keys():
            operation = item[method]
            _, _, rest = HTML.partition(f'<details id="{operation["operationId"]}">')
            section, _, _ = rest.partition("</details>")
            wanted = [
                *operation["responses"],
                *(one.get("name") for one in parameters(item, method)),
            ]
            assert operation["summary"] in unescape(section)
            assert not [one for one in wanted if one and f"<code>{one}</code>" not in section]


def parameters(item: dict[str, list[dict[str, str]]], method: str) -> list[dict[str, str]]:
    operation: dict[str, list[dict[str, str]]] = item[method]  # type: ignore[assignment]
    return [*item.get("parameters", []), *operation.get("parameters", [])]


def test_every_link_on_the_page_leads_somewhere() -> None:
    for target in re.findall(r'href="#([^"]+)"', HTML):
        assert f'id="{target}"' in HTML, target


def test_nothing_is_loaded_and_nothing_is_run() -> None:
    assert not re.search(r"\bsrc=|<script|<link|<iframe|url\(|@import|\bstyle=", HTML)
    assert set(re.findall(r'href="([^#"][^"]*)"', HTML)) == {"/api/v1/openapi.json"}


def test_the_policy_allows_the_style_of_the_page_and_nothing_else() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", HTML, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'; " in PAGE.policy
    assert "unsafe" not in PAGE.policy


def test_what_the_description_says_is_text_on_the_page() -> None:
    wicked = {**DESCRIPTION, "info": {**DESCRIPTION["info"], "title": "<script>x</script>"}}
    assert b"<script" not in render(wicked).html


@pytest_twisted.ensureDeferred
async def test_the_page_is_served_to_everybody_in_both_forms(api: Api) -> None:
    for path in ("/docs", "/docs/"):
        answer = await api.get(path, token="", Accept="text/html")
        assert (answer.status, answer.text) == (200, HTML)
        assert answer.header("Content-Type") == "text/html; charset=utf-8"
        assert answer.header("Content-Security-Policy") == PAGE.policy
        assert answer.header("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("path", ["/docs/", "/api/v1/openapi.json"])
@pytest_twisted.ensureDeferred
async def test_who_has_it_already_is_told_so(api: Api, path: str) -> None:
    first = await api.get(path, token="")
    again = await api.get(path, token="", If_None_Match=first.header("ETag") or "")
    assert (again.status, again.text) == (304, "")


@pytest.mark.parametrize("path", ["/docs/", "/api/v1/openapi.json"])
@pytest_twisted.ensureDeferred
async def test_it_is_only_read(api: Api, path: str) -> None:
    answer = await api.post(path, {}, token="")
    assert (answer.status, answer.header("Allow")) == (405, "GET, HEAD, OPTIONS")
    head = await api.call("HEAD", path, token="")
    assert (head.status, head.text) == (200, "")
    assert int(head.header("Content-Length") or 0) > 10_000
