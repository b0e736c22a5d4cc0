"""The pages promise what the service does."""

from service.bundle import Bundle
from service.http import schemas
from tests.service.running_app import RunningApp, running_app


async def test_docs_and_openapi_are_there(running: RunningApp) -> None:
    """Every documented status of every route has an example, and the examples are true to the schemas."""
    assert (await running.client.get("/docs")).status_code == 200
    paths = (await running.client.get("/openapi.json")).json()["paths"]
    assert set(paths) == {"/predict", "/predict/batch", "/health/live", "/health/ready", "/model", "/metrics"}
    for path, operations in paths.items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                [content] = answer["content"].values()
                examples = [example["value"] for example in content.get("examples", {}).values()]
                examples += [content["example"]] if "example" in content else []
                assert examples, (path, status)
                if int(status) >= 400:
                    assert [schemas.Problem.model_validate(example).status for example in examples] == [
                        int(status)
                    ] * len(examples)
    statuses = {int(status) for status in paths["/predict"]["post"]["responses"]}
    assert statuses == {200, 400, 401, 408, 413, 415, 422, 429, 500, 503, 504}
    schemas.Verdict.model_validate(
        paths["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    )
    schemas.ModelCard.model_validate(
        paths["/model"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    )


async def test_the_pages_can_be_closed(tiny_bundle: Bundle) -> None:
    """Then both are paths like any unknown one, in the series too."""
    async with running_app(tiny_bundle.path, docs="off") as running:
        for path in ("/docs", "/openapi.json", "/docs/oauth2-redirect", "/redoc"):
            response = await running.client.get(path)
            assert (response.status_code, response.json()["code"]) == (404, "not_found")
        assert running.sample("mos_requests_total", route="other", code="404") == 4
