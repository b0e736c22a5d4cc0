"""Every exchange has an id and a route of a bounded set, whatever the caller sends."""

import re

import pytest

from service.http.exchange import OTHER_ROUTE, KnownRoutes
from tests.service.running_app import RunningApp
from tests.tiny_bundle import png

RED = png((235, 20, 20))


@pytest.mark.parametrize("request_id", ["abc", "A-Z_0.9~:/+=x", "x" * 128])
async def test_a_well_formed_id_is_echoed(running: RunningApp, request_id: str) -> None:
    """The caller's id comes back, in the header and in the answer."""
    response = await running.client.post("/predict", content=RED, headers={"X-Request-ID": request_id})
    assert response.headers["X-Request-ID"] == response.json()["request_id"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 129, "a b", "<script>", 'a"b', "a;b", "a\tb"])
async def test_any_other_id_is_replaced(running: RunningApp, request_id: str) -> None:
    """Nothing that could break a log or a page is repeated."""
    response = await running.client.get("/health/live", headers={"X-Request-ID": request_id})
    assert re.fullmatch(r"[0-9a-f]{32}", response.headers["X-Request-ID"])


async def test_made_ids_differ(running: RunningApp) -> None:
    """Two exchanges can be told apart."""
    ids = {(await running.client.get("/health/live")).headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


async def test_unknown_paths_share_one_label(running: RunningApp) -> None:
    """No path of a caller's making becomes a series."""
    for path in ("/a", "/b/c", "/predict/../x", "/%00"):
        await running.client.get(path)
    families = [family for family in running.registry.collect() if family.name == "mos_requests"]
    routes = {sample.labels["route"] for family in families for sample in family.samples}
    assert routes <= {"other", "/health/ready"}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/models/a%2Fb", "/models/{model}"),
        ("/models/a/ready", "/models/{model}/ready"),
        ("/models/a/b", OTHER_ROUTE),
        ("/models/", OTHER_ROUTE),
        ("/models/{model}/more", OTHER_ROUTE),
    ],
)
def test_a_path_is_known_by_its_template(path: str, route: str) -> None:
    """Whatever stands in a parameter's place is not in the route."""
    assert KnownRoutes({"/predict", "/models/{model}", "/models/{model}/ready"}).route_of(path) == route
