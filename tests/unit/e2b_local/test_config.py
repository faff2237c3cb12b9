"""Settings that are wrong are told before anything starts."""

from __future__ import annotations

import json

import pytest

from sandbox_service.e2b_local.config import (
    LocalConfig,
    Template,
    default_templates,
    load_templates,
)
from sandbox_service.e2b_local.errors import ConfigError


def test_the_default_templates_are_those_that_e2b_users_expect():
    """Code written for E2B asks for these names."""
    assert set(default_templates()) == {"base", "python", "node", "code-interpreter-v1"}
    assert default_templates()["base"] == Template(template_id="base")


def test_templates_are_read_from_a_file(tmp_path):
    """An installation names its own."""
    path = tmp_path / "templates.json"
    path.write_text(json.dumps({"big": {"cpu_count": 8, "env": {"A": "b"}}, "small": {}}))

    templates = load_templates(path)
    assert templates["big"].cpu_count == 8
    assert templates["big"].env == {"A": "b"}
    assert templates["small"].memory_mib == 1024


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"a":1}',
        '{"a":{"cpu_count":0}}',
        '{"a":{"cpu_count":true}}',
        '{"a":{"env":{"A":1}}}',
        '{"a":{"cpus":2}}',
    ],
)
def test_a_wrong_templates_file_says_what_to_do(tmp_path, text):
    """A template that is silently missing shows up as a 404 hours later."""
    path = tmp_path / "templates.json"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_templates(path)
    assert str(path) in caught.value.cause
    assert caught.value.fix


def test_a_missing_templates_file_is_named(tmp_path):
    """So is one that cannot be read."""
    with pytest.raises(ConfigError, match="nowhere"):
        load_templates(tmp_path / "nowhere.json")


def test_the_key_is_not_shown(tmp_path):
    """Settings are logged at start."""
    assert "hidden" not in repr(LocalConfig(state_dir=tmp_path, api_key="hidden"))


def test_a_root_filesystem_is_named_from_the_folder_of_the_file(tmp_path):
    """Wherever the backend is started."""
    path = tmp_path / "templates.json"
    path.write_text('{"a": {"rootfs": "a.tar"}, "b": {"rootfs": "/srv/b"}, "c": {}}')
    templates = load_templates(path)

    assert templates["a"].rootfs == tmp_path / "a.tar"
    assert templates["b"].rootfs.as_posix() == "/srv/b"
    assert templates["c"].rootfs is None
    for wrong in ('""', "7", "[]"):
        path.write_text(f'{{"a": {{"rootfs": {wrong}}}}}')
        with pytest.raises(ConfigError, match="rootfs"):
            load_templates(path)
