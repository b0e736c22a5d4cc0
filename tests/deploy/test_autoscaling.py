"""What the number of replicas follows."""

import re
from pathlib import Path

import pytest
import yaml

from service.settings import Settings
from service.watch.metrics import STAGES
from tests.deploy.manifests import GUARD, built, of_kind
from tests.deploy.sources import known_series, run, series_in

SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


def queries() -> dict[str, str]:
    """What KEDA asks Prometheus, by the trigger's name."""
    triggers = of_kind("ScaledObject", GUARD)["spec"]["triggers"]
    return {trigger["name"]: trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"}


@pytest.mark.parametrize(("folder", "kind"), [("base", SCALERS[0]), ("gpu", SCALERS[1]), (GUARD, SCALERS[1])])
def test_one_scaler_owns_the_number_of_replicas(folder: str, kind: str) -> None:
    """Two would fight, and a number in the deployment would be set again at every apply."""
    [scaler] = [manifest for manifest in built(folder) if manifest["kind"] in SCALERS]
    deployment = of_kind("Deployment", folder)
    assert scaler["kind"] == kind
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]


def test_keda_takes_over_what_the_base_began() -> None:
    """It refuses a deployment that another autoscaler has, unless it is told that this one is its own from now on."""
    scaled = of_kind("ScaledObject", GUARD)
    name = scaled["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["name"]
    assert name == of_kind("HorizontalPodAutoscaler", "base")["metadata"]["name"]
    assert scaled["metadata"]["annotations"] == {"scaledobject.keda.sh/transfer-hpa-ownership": "true"}


def test_a_prometheus_that_sees_nothing_takes_no_replica_away() -> None:
    """An empty answer would count as 0 and scale down to the least, in the middle of the load."""
    for trigger in of_kind("ScaledObject", GUARD)["spec"]["triggers"]:
        if trigger["type"] == "prometheus":
            assert trigger["metadata"]["ignoreNullValues"] == "false"


@pytest.mark.parametrize("name", queries())
def test_a_query_reads_what_there_is(name: str) -> None:
    """A misspelt series or stage would be an error for ever, and a number that never changes."""
    assert series_in(queries()[name])
    assert series_in(queries()[name]) <= known_series()
    assert {stage for stages in re.findall(r'stage=~?"([^"]*)"', queries()[name]) for stage in stages.split("|")} <= {
        *STAGES
    }


def test_half_a_batch_may_wait_for_each_replica() -> None:
    """As the comment says; a full one is a run's worth of waiting."""
    [trigger] = [each for each in of_kind("ScaledObject", GUARD)["spec"]["triggers"] if each["name"] == "queue-time"]
    assert int(trigger["metadata"]["threshold"]) == Settings.model_fields["max_batch_size"].default // 2


def test_the_queries_say_what_they_are_meant_to(promtool: str, tmp_path: Path) -> None:
    """Prometheus itself evaluates them for two replicas: idle ones, and ones where images wait and engines work."""
    rules = [{"record": name.replace("-", "_"), "expr": query} for name, query in queries().items()]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "keda", "rules": rules}]}))

    def case(decode: str, queue: str, engine: str, expected: dict[str, float]) -> dict[str, object]:
        stage = "mos_stage_duration_seconds_sum{{job='mos-guard', instance='{}', stage='{}'}}"
        series = {
            stage.format(replica, name): each
            for replica in "ab"
            for name, each in (("decode", decode), ("queue", queue), ("inference", "0+900x20"))
        } | {f"mos_engine_seconds_total{{job='mos-guard', instance='{replica}'}}": engine for replica in "ab"}
        return {
            "interval": "15s",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [
                {"expr": name, "eval_time": "4m", "exp_samples": [{"labels": name, "value": value}]}
                for name, value in expected.items()
            ],
        }

    idle = case("0x20", "0x20", "0x20", {"queue_time": 0, "engine": 0})
    # In 15 s each replica's images are decoded for 30 s and wait for 225 s: 2 + 15 at a time. Its engine runs for 9 s.
    busy = case("0+30x20", "0+225x20", "0+9x20", {"queue_time": 34, "engine": 1.2})
    tests = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [idle, busy]}
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    assert "SUCCESS" in run(promtool, "test", "rules", tmp_path / "tests.yml")
