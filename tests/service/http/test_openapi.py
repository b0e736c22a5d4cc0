"""The pages promise what the service does."""

from service.bundle import Bundle
from service.http import schemas
from service.http.v2 import schemas as v2
from tests.service.running_app import RunningApp, running_app

MODEL, VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
V2_PATHS = {"/v2", "/v2/health/live", "/v2/health/ready"} | {
    f"{path}{end}" for path in (MODEL, VERSION) for end in ("", "/ready", "/infer")
}


async def test_docs_and_openapi_are_there(running: RunningApp) -> None:
    """Every documented status of every route has an example, and the examples are true to the schemas."""
    assert (await running.client.get("/docs")).status_code == 200
    paths = (await running.client.get("/openapi.json")).json()["paths"]
    assert (
        set(paths) == {"/predict", "/predict/batch", "/health/live", "/health/ready", "/model", "/metrics"} | V2_PATHS
    )
    for path, operations in paths.items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                contents = answer["content"].values()
                examples = [one["value"] for content in contents for one in content.get("examples", {}).values()]
                examples += [content["example"] for content in contents if "example" in content]
                assert examples, (path, status)
                if int(status) >= 400 and path.startswith("/v2"):
                    assert all(v2.Error.model_validate(example).error for example in examples)
                elif int(status) >= 400:
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


async def test_the_protocols_routes_are_documented(running: RunningApp) -> None:
    """Their examples are true to the schemas, their errors are the native ones and the unknown model."""
    paths = (await running.client.get("/openapi.json")).json()["paths"]
    native = {int(status) for status in paths["/predict"]["post"]["responses"]}
    for path in (MODEL, VERSION):
        infer = paths[f"{path}/infer"]["post"]
        assert {int(status) for status in infer["responses"]} == native | {404}
        v2.InferAnswer.model_validate(infer["responses"]["200"]["content"]["application/json"]["example"])
        for example in infer["requestBody"]["content"]["application/json"]["examples"].values():
            v2.InferRequest.model_validate(example["value"], strict=True)
        metadata = paths[path]["get"]["responses"]["200"]["content"]["application/json"]["example"]
        v2.Model.model_validate(metadata)
        in_path = {given["name"] for given in infer["parameters"] if given["in"] == "path"}
        assert in_path == ({"model"} if path == MODEL else {"model", "version"})
