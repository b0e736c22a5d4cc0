"""The documentation page may load what it needs, and nothing else."""

import base64
import hashlib
import re

from tests.service.running_app import RunningApp


async def test_the_page_loads_one_version_by_its_hash(running: RunningApp) -> None:
    """Each file from elsewhere is pinned to a version and to its bytes, so whoever owns the CDN runs nothing here."""
    page = (await running.client.get("/docs")).text
    elsewhere = re.findall(r'<(?:script|link) [^>]*"https://[^>]*>', page)
    assert len(elsewhere) == 2
    for tag in elsewhere:
        assert re.search(r"/npm/swagger-ui-dist@\d+\.\d+\.\d+/", tag)
        assert re.search(r'integrity="sha384-[A-Za-z0-9+/]{64}"', tag)
        assert 'crossorigin="anonymous"' in tag


async def test_the_policy_fits_the_page(running: RunningApp) -> None:
    """It names the very files of the page and the hash of its one line of script, and no other origin."""
    response = await running.client.get("/docs")
    [policy] = response.headers.get_list("Content-Security-Policy")
    directives = dict(directive.split(" ", 1) for directive in policy.split("; "))
    [line] = re.findall(r"<script>(.*?)</script>", response.text, re.S)
    line_hash = base64.b64encode(hashlib.sha256(line.encode()).digest()).decode()
    [script] = re.findall(r'<script src="([^"]+)"', response.text)
    [style] = re.findall(r'<link rel="stylesheet" href="([^"]+)"', response.text)
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == f"{script} 'sha256-{line_hash}'"
    assert directives["style-src"] == style
    assert directives["connect-src"] == "'self'"
    assert directives["frame-ancestors"] == "'none'"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
