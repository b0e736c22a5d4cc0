"""Settings come from the environment or `.env`, work as they are, and say in one sentence what is wrong."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, one_sentence


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MOS_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_work() -> None:
    """With nothing set the settings are valid, and local."""
    settings = Settings()
    assert (settings.host, settings.port, settings.provider) == ("127.0.0.1", 8000, "auto")
    assert settings.bundle.name == "default_bundle"
    assert settings.decode_threads >= 1


def test_every_setting_is_documented_with_its_unit() -> None:
    """Each field has a description, and a number of time or size has its unit in the name."""
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if any(word in name for word in ("wait", "deadline", "timeout", "drain", "interval")):
            assert name.endswith(("_ms", "_seconds")), name


def test_reads_the_environment_and_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable beats `.env`, which beats the default."""
    (tmp_path / ".env").write_text("MOS_PORT=9001\nMOS_MAX_QUEUE=7\nOTHER=1\n")
    monkeypatch.setenv("MOS_MAX_QUEUE", "8")
    settings = Settings()
    assert (settings.port, settings.max_queue) == (9001, 8)


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose files pass optional settings as empty strings."""
    monkeypatch.setenv("MOS_API_KEYS_FILE", "")
    assert Settings().api_keys_file is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MOS_PORT", "70000"),
        ("MOS_PORT", "http"),
        ("MOS_PROVIDER", "gpu"),
        ("MOS_MAX_BATCH_SIZE", "0"),
        ("MOS_DEADLINE_MS", "-1"),
        ("MOS_DEADLINE_MS", "nan"),
        ("MOS_MAX_WAIT_MS", "inf"),
        ("MOS_LOG_FORMAT", "xml"),
        ("MOS_METRICS", "closed"),
        ("MOS_DOCS", "0"),
        ("MOS_VERDICT_LOG_SHARE", "1.1"),
        ("MOS_VERDICT_LOG_MAX_BYTES", "1000"),
        ("MOS_VERDICT_LOG_FILES", "1"),
        ("MOS_FEEDBACK_REMEMBER", "0"),
    ],
)
def test_a_wrong_value_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The sentence names the variable and the value, on one line."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        Settings()
    sentence = one_sentence(error.value)
    assert sentence.startswith(f"{name}={value}: ")
    assert sentence.endswith(".")
    assert "\n" not in sentence


@pytest.mark.parametrize("name", ["MOS_API_KEYS_FILE", "MOS_FEEDBACK_KEYS_FILE"])
def test_a_key_in_the_place_of_its_file_is_not_repeated(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The sentence goes to a log, and whoever mistook the setting has put a key there."""
    monkeypatch.setenv(name, "the-key-itself")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert one_sentence(error.value).startswith(f"{name}: path does not point to a file")
    assert "the-key-itself" not in one_sentence(error.value)


def test_closed_metrics_need_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without one they would be open although somebody closed them, or shut to everybody."""
    monkeypatch.setenv("MOS_METRICS", "key")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert one_sentence(error.value) == "MOS_METRICS=key: there is no key to ask for; set MOS_API_KEYS_FILE."
    (tmp_path / "keys").write_text("key\n")
    monkeypatch.setenv("MOS_API_KEYS_FILE", "keys")
    assert Settings().metrics == "key"


def test_labels_need_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever lets operators label says where their labels go, or the service does not start."""
    (tmp_path / "keys").write_text("key\n")
    monkeypatch.setenv("MOS_FEEDBACK_KEYS_FILE", "keys")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert one_sentence(error.value).startswith("MOS_FEEDBACK_LOG=None: labels will come")
    monkeypatch.setenv("MOS_FEEDBACK_LOG", "labels")
    assert Settings().feedback_log == Path("labels")


@pytest.mark.parametrize("name", ["MOS_API_KEYS_FILE", "MOS_FEEDBACK_KEYS_FILE"])
@pytest.mark.parametrize("content", [b"", b"\n  \n", b"\xff\xfe"])
def test_a_keys_file_without_a_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, name: str
) -> None:
    """A service that was told to ask for keys never starts without one."""
    (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv(name, "keys")
    monkeypatch.setenv("MOS_FEEDBACK_LOG", "labels")
    with pytest.raises(ValidationError):
        Settings()
