"""One thread for the device."""

import gc
import threading
import weakref

import pytest

from service.inference.engine.device_thread import DeviceThread


class Model:
    def name(self) -> str:
        return threading.current_thread().name


def test_what_is_returned_and_raised_reaches_the_caller() -> None:
    """The caller sees no difference but the thread."""
    thread = DeviceThread("apart")
    assert thread.run(lambda: threading.current_thread().name) == "apart"
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0)
    assert thread.run(lambda: 2) == 2


def test_it_ends_when_nobody_holds_it_and_holds_nothing_itself() -> None:
    """A bundle that is out of service leaves neither its thread nor its model."""
    thread, model = DeviceThread("left behind"), Model()
    assert thread.run(model.name) == "left behind"
    [running] = [each for each in threading.enumerate() if each.name == "left behind"]
    held = weakref.ref(model)
    del thread, model
    gc.collect()
    running.join(60)
    assert not running.is_alive()
    assert held() is None
