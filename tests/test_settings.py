import base64
import json

import pytest

from melagent.errors import EXIT_CODE, ExitCode
from melagent.settings import MASK, SettingsError, load, shown


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    """No config file of this machine plays a part."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def problems_of(**sources):
    with pytest.raises(SettingsError) as raised:
        load(**sources)
    assert EXIT_CODE[raised.value.code] == ExitCode.USAGE
    return {detail.field: detail.problem for detail in raised.value.details}


@pytest.fixture
def config(tmp_path):
    """Writes a config file; its name chooses the format."""

    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_nothing_given_leaves_the_defaults_of_the_contract():
    settings = load(environ={})
    assert (settings.server.port, settings.engine.lease_seconds, settings.engine.heartbeat_seconds) == (8080, 15, 5)
    assert (settings.database.url, settings.database.max_open_conns, settings.database.max_idle_conns) == (None, 25, 10)
    assert (settings.database.conn_max_lifetime, settings.database.conn_max_idle_time) == (300, 120)
    assert (settings.worker.embedded_concurrency, settings.retention.runs_days) == (100, 30)
    assert set(settings.origins.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(config):
    path = config("c.yaml", "server: {port: 1, host: file}\nlog: {level: error}")
    environ = {"MEL_SERVER_PORT": "2", "MEL_SERVER_HOST": "environment"}
    settings = load({"server.port": 3}, environ=environ, config=path)
    assert (settings.server.port, settings.server.host, settings.log.level) == (3, "environment", "error")
    assert settings.origins["server.port"] == "flag"
    assert settings.origins["server.host"] == "environment MEL_SERVER_HOST"
    assert settings.origins["log.level"] == f"file {path}"
    assert settings.origins["log.format"] == "default"


def test_flag_that_equals_the_default_still_counts_as_given():
    settings = load({"server.port": 8080, "server.host": None}, environ={"PORT": "9", "MEL_SERVER_HOST": "h"})
    assert (settings.server.port, settings.origins["server.port"]) == (8080, "flag")
    assert (settings.server.host, settings.origins["server.host"]) == ("h", "environment MEL_SERVER_HOST")


def test_default_of_a_command_gives_way_to_every_source(config):
    defaults = {"server.host": "0.0.0.0"}
    assert load(environ={}, defaults=defaults).origins["server.host"] == "default"
    assert load(environ={}, defaults=defaults).server.host == "0.0.0.0"
    path = config("c.yaml", "server: {host: file}")
    assert load(environ={}, config=path, defaults=defaults).server.host == "file"


def test_first_listed_variable_wins_and_an_empty_one_was_not_given():
    assert load(environ={"PORT": "1", "MEL_SERVER_PORT": "2"}).server.port == 1
    assert load(environ={"PORT": "", "MEL_SERVER_PORT": "2"}).server.port == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "server: {port: 7}\ndata_dir: /d\nsecurity: {http_allow: [a, b]}"),
        ("c.json", '{"server": {"port": 7}, "data_dir": "/d", "security": {"http_allow": ["a", "b"]}}'),
        ("c.toml", 'data_dir = "/d"\n[server]\nport = 7\n[security]\nhttp_allow = ["a", "b"]'),
    ],
)
def test_config_file_may_be_yaml_json_or_toml(config, name, text):
    settings = load(environ={}, config=config(name, text))
    assert (settings.server.port, str(settings.data_dir), settings.security.http_allow) == (7, "/d", ("a", "b"))


def test_config_file_is_found_in_the_working_directory(config, monkeypatch, tmp_path):
    config("config.toml", "[server]\nport = 7")
    monkeypatch.chdir(tmp_path)
    assert load(environ={}).server.port == 7


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("250ms", 0.25), ("2.5", 2.5), ("1d", 86400)]
)
def test_duration_may_be_written_with_units(text, seconds):
    assert load(environ={"DB_CONN_MAX_LIFETIME": text}).database.conn_max_lifetime == seconds


@pytest.mark.parametrize("text", ["5 minutes", "m", "-5s", "0", "1h-5m", "inf", "nan"])
def test_duration_that_makes_no_sense_is_refused(text):
    assert "database.conn_max_lifetime" in problems_of(environ={"DB_CONN_MAX_LIFETIME": text})


def test_every_problem_is_named_at_once_with_origin_and_expectation(config):
    path = config("c.yaml", "serve: {port: 1}\nlog: {colour: red}\nworker: {embedded_concurrency: many}")
    found = problems_of(
        flags={"server.port": "abc"},
        environ={"DATABASE_URL": "mysql://u:s3cret@h/d", "MEL_LOG_LEVEL": "loud"},
        config=path,
    )
    assert set(found) == {
        "serve", "log.colour", "worker.embedded_concurrency", "server.port", "database.url", "log.level",
    }  # fmt: skip  # one set, not one name a line
    assert found["server.port"].startswith("flag: expected a valid integer")
    assert found["database.url"].startswith("environment DATABASE_URL: expected a URL that begins with postgresql://")
    assert found["log.level"] == "environment MEL_LOG_LEVEL: expected 'debug', 'info', 'warning' or 'error'"
    assert found["serve"] == f"file {path}: there is no such setting"
    assert "s3cret" not in str(found)


def test_unreadable_config_file_is_a_problem(config, tmp_path):
    assert "--config" in problems_of(environ={}, config=tmp_path / "absent.yaml")
    assert "--config" in problems_of(environ={}, config=config("c.yaml", "a: [b"))
    assert "--config" in problems_of(environ={}, config=config("c.json", "[1]"))


def test_runs_may_be_kept_for_ever_but_not_for_less_than_no_time():
    assert load(environ={"MEL_RETENTION_RUNS_DAYS": "0"}).retention.runs_days == 0
    for text in ("-1", "1.5", "30d"):
        assert "retention.runs_days" in problems_of(environ={"MEL_RETENTION_RUNS_DAYS": text})


def test_trusted_proxies_are_addresses_and_networks():
    settings = load(environ={"MEL_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})
    assert settings.server.trusted_proxies == ("10.0.0.0/8", "::1")
    found = problems_of(environ={"MEL_TRUSTED_PROXIES": "10.0.0.0/8,nginx"})
    assert "expected addresses and networks such as 10.0.0.0/8" in found["server.trusted_proxies"]


def test_the_first_administrator_and_the_provider_are_named_completely_or_not_at_all():
    password = "correct horse battery"
    whole = load(environ={"MEL_ADMIN_EMAIL": "root@example.com", "MEL_ADMIN_PASSWORD": password})
    assert whole.security.admin_password == password
    assert password not in repr(whole) + str(shown(whole))
    for environ, field in (
        ({"MEL_ADMIN_EMAIL": "root@example.com"}, "security.admin_password"),
        ({"MEL_ADMIN_PASSWORD": password}, "security.admin_password"),
        ({"MEL_ADMIN_EMAIL": "root", "MEL_ADMIN_PASSWORD": password}, "security.admin_email"),
        ({"MEL_ADMIN_EMAIL": "root@example.com", "MEL_ADMIN_PASSWORD": "short"}, "security.admin_password"),
        ({"MEL_OIDC_ISSUER": "https://id.example"}, "security.oidc_client_id"),
        ({"MEL_OIDC_CLIENT_ID": "mel"}, "security.oidc_client_id"),
        ({"MEL_OIDC_DEFAULT_ROLE": "king"}, "security.oidc_default_role"),
    ):
        assert field in problems_of(environ=environ), environ


def test_allowed_origins_are_origins():
    given = load(environ={"MEL_ALLOWED_ORIGINS": "https://a.example, http://localhost:3000"})
    assert given.server.allowed_origins == ("https://a.example", "http://localhost:3000")
    for wrong in ("*", "a.example", "https://a.example/", "https://A.example", "https://u@a.example", "null"):
        assert "server.allowed_origins" in problems_of(environ={"MEL_ALLOWED_ORIGINS": wrong}), wrong


def test_metrics_may_be_open_need_a_key_or_have_a_port():
    for access in ("open", "token", "port"):
        assert load(environ={"MEL_METRICS_ACCESS": access}).server.metrics_access == access
    assert load(environ={}).server.metrics_port == 9090
    assert "server.metrics_access" in problems_of(environ={"MEL_METRICS_ACCESS": "nobody"})


KEY = bytes(range(200, 232))


@pytest.mark.parametrize(
    "written",
    [KEY.hex(), KEY.hex().upper(), base64.b64encode(KEY).decode(), base64.urlsafe_b64encode(KEY).decode().rstrip("=")],
)
def test_encryption_key_may_be_hex_or_base64(written):
    assert load(environ={"MEL_ENCRYPTION_KEYS": written}).security.encryption_keys == (KEY,)


def test_encryption_keys_keep_their_order_and_may_come_from_a_file(config):
    other = bytes(32)
    environ = {"MEL_ENCRYPTION_KEYS": f"{KEY.hex()}, {other.hex()}"}
    assert load(environ=environ).security.encryption_keys == (KEY, other)
    path = config("c.yaml", f"security: {{encryption_keys: ['{other.hex()}', {base64.b64encode(KEY).decode()}]}}")
    assert load(environ={}, config=path).security.encryption_keys == (other, KEY)
    assert load(environ={}).security.encryption_keys == ()


@pytest.mark.parametrize("broken", ["s3cret", "s3cret" * 11, base64.b64encode(b"s3cret").decode(), KEY.hex()[1:], "é"])
def test_broken_encryption_key_is_named_by_its_place_and_never_shown(broken):
    found = problems_of(environ={"MEL_ENCRYPTION_KEYS": f"{KEY.hex()},{broken}"})
    assert "expected keys of 32 bytes in base64 or hex" in found["security.encryption_keys"]
    assert found["security.encryption_keys"].endswith("number 2 is not")
    assert broken not in str(found)


def test_encryption_keys_are_masked_when_shown():
    settings = load(environ={"MEL_ENCRYPTION_KEYS": KEY.hex()})
    lines = {line.setting: line.value for line in shown(settings)}
    assert lines["security.encryption_keys"] == MASK
    assert KEY.hex() not in repr(settings)
    assert repr(KEY) not in repr(settings)


def test_heartbeat_must_fit_into_the_lease():
    found = problems_of(environ={"MEL_LEASE_SECONDS": "4"})
    assert found["engine.heartbeat_seconds"] == "default: expected less than engine.lease_seconds, which is 4"


def test_secrets_are_masked_when_shown_and_absent_from_the_representation():
    environ = {"DATABASE_URL": "postgresql://u:s3cret@h:5/d?password=s3cret&x=1", "MEL_API_KEY": "s3cret-key"}
    settings = load(environ=environ)
    lines = {line.setting: line for line in shown(settings)}
    assert lines["database.url"].value == f"postgresql://u:{MASK}@h:5/d?password={MASK}&x=1"
    assert lines["security.bootstrap_api_key"].value == MASK
    assert "s3cret" not in json.dumps([str(line) for line in lines.values()]) + repr(settings)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load(environ={}).server.port = 1
