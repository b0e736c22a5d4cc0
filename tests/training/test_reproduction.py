"""The ledger of differences is whole, and every difference that changes a number has a setting."""

from dataclasses import fields

import pytest

from training.errors import SettingError
from training.reproduction import LEDGER, SOURCES, Settings, settings


def test_every_known_difference_has_a_row() -> None:
    """D1 to D11 and B1 to B7, each once."""
    numbers = [number for row in LEDGER for number in row.number.split(", ")]
    assert sorted(set(numbers) - {"§3.3", "-"}) == sorted(
        [f"D{i}" for i in range(1, 12)] + [f"B{i}" for i in range(1, 8)]
    )
    assert len(numbers) == len(set(numbers))


def test_every_setting_is_a_row_of_the_ledger() -> None:
    """In the ledger's order, and none beside it."""
    assert [row.setting for row in LEDGER if row.setting] == [field.name for field in fields(Settings)]


def test_a_source_is_followed_everywhere_but_where_it_is_changed() -> None:
    """As the command line has it: --follow, then --setting."""
    assert settings() == Settings()
    chosen = settings("official", ["mixup=paper", "fpr95=corrected"])
    assert (chosen.mixup, chosen.fpr95) == ("paper", "corrected")
    rest = {field.name for field in fields(Settings)} - {"mixup", "fpr95"}
    assert {getattr(chosen, name) for name in rest} == {"official"}


@pytest.mark.parametrize("change", ["colour=paper", "mixup=authors", "mixup", "=paper"])
def test_a_setting_that_does_not_exist_is_refused_with_those_that_do(change: str) -> None:
    """The sentence names the setting and the choices."""
    with pytest.raises(SettingError, match=r"mixup.*unreadable"):
        settings("corrected", [change])
    assert "corrected" in SOURCES
