"""Another bundle takes the place of the one in service: proven beside it, exchanged at once, or refused."""

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from service.bundle import Bundle
from service.inference.pipeline import Prediction
from service.serving.guard import Guard
from service.serving.swap import Swap
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import MOS_AND_LOGIT, png, write_tiny_bundle

RED = png((235, 20, 20))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where the bundle in service lies; version 1 lies there."""
    return write_tiny_bundle(tmp_path / "bundle").path


@asynccontextmanager
async def serving(place: Path, **settings: object) -> AsyncIterator[RunningApp]:
    async with running_app(place, **settings) as running:
        await running.until_ready()
        yield running


def swap_of(running: RunningApp) -> Swap:
    swap: Swap = running.app.state.serving.swap
    return swap


def put(place: Path, *, version: str, **how: object) -> Bundle:
    """Put another version at *place*, as export does: drafted beside it and renamed."""
    return write_tiny_bundle(place, version=version, **how)  # type: ignore[arg-type]


async def verdict(running: RunningApp) -> dict[str, object]:
    response = await running.client.post("/predict", content=RED)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = response.json()
    return answer


async def test_a_new_bundle_judges_from_one_answer_to_the_next(place: Path) -> None:
    """Answers, the model card and the series name the new one; ready never falls."""
    async with serving(place) as running:
        assert (await verdict(running))["version"] == "1"
        put(place, version="2", decision=MOS_AND_LOGIT)
        await swap_of(running).reload()
        answer = await verdict(running)
        assert (answer["version"], answer["decided_by"]) == ("2", "mos+logit")
        assert (await running.client.get("/health/ready")).status_code == 200
        assert (await running.client.get("/model")).json()["version"] == "2"
        assert running.sample("mos_decision_info", statistic="mos+logit") == 1
        assert running.sample("mos_decision_info", statistic="mos") == 0
        assert reloads(running, "swapped") == 1


async def test_a_new_calibration_alone_is_taken_too(place: Path) -> None:
    """`calibrate` on the bundle in service, and the threshold moves; the drift tests begin anew."""
    async with serving(place) as running:
        before = await verdict(running)
        document = (place / "calibration.json").read_text()
        (place / "calibration.json").write_text(document.replace(str(before["threshold"]), "-0.5", 1))
        assert (await running.client.get("/model")).json()["drift"]["images"] == 1
        await swap_of(running).reload()
        assert (await running.client.get("/model")).json()["drift"]["images"] == 0
        assert (await verdict(running))["threshold"] == -0.5
        assert running.sample("mos_threshold") == -0.5


async def test_an_uncalibrated_service_becomes_ready_by_its_calibration(place: Path, tmp_path: Path) -> None:
    """The first calibration needs no restart."""
    bare = write_tiny_bundle(tmp_path / "bare", calibrated=False)
    async with running_app(bare.path) as running:
        assert (await running.client.get("/health/ready")).status_code == 503
        shutil.copy(place / "calibration.json", bare.path)
        await swap_of(running).reload()
        assert (await running.client.get("/health/ready")).status_code == 200
        await verdict(running)


@pytest.mark.parametrize("damage", ["model", "calibration", "uncalibrated", "canaries", "absent", "graph"])
async def test_a_bad_bundle_leaves_the_one_in_service(
    place: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and named with its reason in one sentence, and nobody notices anything."""
    async with serving(place) as running:
        put(place, version="2", calibrated=damage != "uncalibrated")
        if damage == "model":
            (place / "model.onnx").write_bytes(b"no model")
        elif damage == "calibration":
            (place / "calibration.json").write_text('{"threshold": ')
        elif damage == "canaries":
            expected = (place / "canary/expected.json").read_text()
            (place / "canary/expected.json").write_text(expected.replace('"class_index": 0', '"class_index": 1'))
        elif damage == "absent":
            shutil.rmtree(place)
        elif damage == "graph":
            put(place, version="2", nan_on_black=True)
            (place / "model.onnx").write_bytes((place / "model.onnx").read_bytes() + b"\0")
        former = swap_of(running).guard
        await swap_of(running).reload()
        assert swap_of(running).guard is former
        assert (await verdict(running))["version"] == "1"
        assert (await running.client.get("/health/ready")).status_code == 200
        assert reloads(running, "refused") == 1
        assert running.sample("mos_bundle_last_reload_ok") == 0
        assert running.sample("mos_canary_deviation") <= 1e-4, "the refused one's canaries are not those in service"
    [line] = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert "tiny version 1 stays in service" in line
    assert line.endswith(".")
    assert "\n" not in line


async def test_what_the_former_guard_accepted_it_answers(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request under way while bundles are exchanged is judged and named by the one that took it, and waited for."""
    async with serving(place) as running:
        swap = swap_of(running)
        former, is_held, may_go = swap.guard, asyncio.Event(), asyncio.Event()
        predict = former.pipeline.predict

        async def held(encoded: bytes, *, deadline: float, caller: object) -> Prediction:
            is_held.set()
            await may_go.wait()
            return await predict(encoded, deadline=deadline, caller=caller)

        monkeypatch.setattr(former.pipeline, "predict", held)
        put(place, version="2")
        under_way = asyncio.create_task(verdict(running))
        await is_held.wait()
        reloading = asyncio.create_task(swap.reload())
        await until(running, swapped=1)
        assert (await verdict(running))["version"] == "2"
        assert not reloading.done(), "the former guard ends before its last answer"
        may_go.set()
        assert (await under_way)["version"] == "1"
        await reloading


async def test_many_exchanges_under_load_mix_nothing(place: Path) -> None:
    """Whatever is asked at whatever moment is answered by one version, and never by an older one than before."""
    async with serving(place, max_wait_ms=50) as running:
        swap = swap_of(running)
        put(place, version="2")
        outcomes = [asyncio.create_task(verdict(running)) for _ in range(40)]
        reloading = asyncio.create_task(swap.reload())
        while not reloading.done():
            outcomes.append(asyncio.create_task(verdict(running)))
            await asyncio.sleep(0.001)
        outcomes.append(asyncio.create_task(verdict(running)))
        versions = [(await outcome)["version"] for outcome in outcomes]
        assert set(versions) == {"1", "2"}
        assert versions == sorted(versions)  # type: ignore[type-var]


async def test_a_guard_in_use_is_not_ended_under_its_user(place: Path) -> None:
    """The exchange is done at once, and the end of the former one waits for whoever still judges with it."""
    async with serving(place) as running:
        swap = swap_of(running)
        former = swap.guard
        put(place, version="2")
        with former.in_use():
            reloading = asyncio.create_task(swap.reload())
            async with asyncio.timeout(30):
                while swap.guard is former:  # noqa: ASYNC110  what a client sees
                    await asyncio.sleep(0.001)
            prediction = await former.pipeline.predict(RED, deadline=asyncio.get_running_loop().time() + 30)
            assert prediction.verdict.label == "red"
            assert not reloading.done()
        await reloading


async def test_a_former_bundle_is_let_go(place: Path) -> None:
    """Its session, the largest thing there is, lives no longer than its last request: memory returns to one bundle."""
    async with serving(place) as running:
        swap = swap_of(running)
        former = weakref.ref(swap.guard)
        put(place, version="2")
        await swap.reload()
        await verdict(running)
        gc.collect()
        assert former() is None


async def test_requests_that_come_together_are_one_reload(place: Path) -> None:
    """An impatient operator gets one exchange, and a later request another."""
    async with serving(place) as running:
        for _ in range(3):
            running.app.state.is_reload_wanted.set()
        await until(running, swapped=1)
        running.app.state.is_reload_wanted.set()
        await until(running, swapped=2)
        assert reloads(running, "swapped") == 2


async def test_a_watched_bundle_is_taken_when_it_has_changed_and_stands_still(place: Path) -> None:
    """Nobody need send a signal; without a change nothing is read again, and a bad one is tried once."""
    async with serving(place, bundle_watch_seconds=0.05) as running:
        await asyncio.sleep(0.2)
        assert reloads(running, "swapped") == 0
        put(place, version="2")
        await until(running, swapped=1)
        assert (await verdict(running))["version"] == "2"
        (place / "model.onnx").write_bytes(b"half a model")
        await until(running, refused=1)
        await asyncio.sleep(0.2)
        assert reloads(running, "refused") == 1
        put(place, version="3")
        await until(running, swapped=2)
        assert (await verdict(running))["version"] == "3"


async def test_a_bundle_that_becomes_whole_later_is_taken(place: Path) -> None:
    """Whatever file comes last: the pictures of the canaries are part of the bundle that is watched."""
    async with serving(place, bundle_watch_seconds=0.05) as running:
        canary = place / "canary" / put(place, version="2").canaries[0].name
        content = canary.read_bytes()
        canary.unlink()
        await until(running, refused=1)
        canary.write_bytes(content)
        await until(running, swapped=1)
        assert (await verdict(running))["version"] == "2"


async def test_a_refused_bundle_is_tried_again_after_a_while(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in the way may have passed though no file shows it; each time it is waited twice as long."""
    monkeypatch.setattr("service.serving.swap.FIRST_RETRY_SECONDS", 0.1)
    async with serving(place, bundle_watch_seconds=0.05) as running:
        swap = swap_of(running)
        read = swap._builder._function

        def fail(path: Path) -> Guard:
            raise OSError("The disk is gone.")

        monkeypatch.setattr(swap._builder, "_function", fail)
        put(place, version="2")
        await until(running, refused=2)
        assert swap._retry_seconds >= 0.2
        monkeypatch.setattr(swap._builder, "_function", read)
        await until(running, swapped=1)
        assert (await verdict(running))["version"] == "2"


async def test_reading_the_same_calibration_again_keeps_the_evidence_of_drift(place: Path) -> None:
    """A signal to rotate logs, or an impatient operator, must not silence an alarm."""
    async with serving(place) as running:
        await verdict(running)
        await swap_of(running).reload()
        assert (await running.client.get("/model")).json()["drift"]["images"] == 1
        await verdict(running)
        assert (await running.client.get("/model")).json()["drift"]["images"] == 2


async def test_a_guard_that_outlasts_its_time_still_ends(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is said that it lasts, and its threads and model are let go with its last user."""
    async with serving(place, drain_seconds=0.01) as running:
        swap = swap_of(running)
        former = swap.guard
        with former.in_use():
            put(place, version="2")
            await swap.reload()
            assert "tiny version 1 is not at its end" in caplog.text
            assert former._ending is not None
            assert not former._ending.done()
        async with asyncio.timeout(30):
            await former._ending


async def test_an_exchange_that_breaks_is_not_the_last(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong at the last moment leaves the former guard in force, and the next request is carried out."""
    async with serving(place) as running:
        swap = swap_of(running)
        former, enter = swap.guard, swap._enter
        monkeypatch.setattr(swap, "_enter", lambda guard: 1 / 0)
        put(place, version="2")
        running.app.state.is_reload_wanted.set()
        await until(running, refused=1)
        assert swap.guard is former
        assert (await verdict(running))["version"] == "1"
        monkeypatch.setattr(swap, "_enter", enter)
        running.app.state.is_reload_wanted.set()
        await until(running, swapped=1)
        assert (await verdict(running))["version"] == "2"


async def test_what_fails_after_an_exchange_is_not_the_last(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that nobody foresaw is logged, and requests go on being carried out."""
    async with serving(place) as running:
        swap = swap_of(running)
        tell, told = swap._on_outcome, asyncio.Event()

        def fail(outcome: str) -> None:
            told.set()
            raise RuntimeError("unforeseen")

        monkeypatch.setattr(swap, "_on_outcome", fail)
        running.app.state.is_reload_wanted.set()
        async with asyncio.timeout(30):
            await told.wait()
        monkeypatch.setattr(swap, "_on_outcome", tell)
        running.app.state.is_reload_wanted.set()
        await until(running, swapped=1)
        assert reloads(running, "swapped") == 1


async def test_a_bundle_that_is_still_being_written_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what stays the same from one look to the next is read."""
    async with serving(place) as running:
        swap = swap_of(running)
        looks, requested_after = [1, 2, 3, 4, 4], list[int]()

        def look(path: Path) -> tuple[int]:
            if not looks:
                raise NoMoreLooks
            return (looks.pop(0),)

        monkeypatch.setattr("service.serving.swap.identity_of", look)
        monkeypatch.setattr(swap, "_is_wanted", SimpleNamespace(set=lambda: requested_after.append(5 - len(looks))))
        with pytest.raises(NoMoreLooks):
            await swap.watch(0.001)
        assert requested_after == [5], "the fifth look is the first that saw what the one before it saw"


class NoMoreLooks(Exception):
    """The test has seen enough."""


async def until(running: RunningApp, **outcomes: int) -> None:
    """Wait until each outcome has been counted so often."""
    with suppress(TimeoutError):
        async with asyncio.timeout(30):
            while any(reloads(running, outcome) < count for outcome, count in outcomes.items()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert {outcome: reloads(running, outcome) for outcome in outcomes} == outcomes


def reloads(running: RunningApp, outcome: str) -> float:
    return running.sample("mos_bundle_reloads_total", outcome=outcome)
