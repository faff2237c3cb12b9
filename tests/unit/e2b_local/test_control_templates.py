"""Templates are shown, and not built; what is not there is refused in words."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from e2b.api.client.models import (
    Template,
    TemplateBuildInfo,
    TemplateBuildLogsResponse,
    TemplateTag,
    TemplateTagAssignmentsResponse,
    TemplateTagExistsResponse,
    TemplateTagGroupsResponse,
    TemplateTagsCountResponse,
    TemplateWithBuilds,
)

from sandbox_service.e2b_local.config import LocalConfig
from sandbox_service.e2b_local.config import Template as LocalTemplate
from sandbox_service.e2b_local.control import ControlApi, ControlPlane
from sandbox_service.e2b_local.control.unsupported import ROUTES as UNSUPPORTED
from sandbox_service.e2b_local.fleet.store import SandboxStore
from tests.unit.e2b_local.wire_double import exchange_of

START = 1_700_000_000
NAMES = ("base", "node", "python", "code-interpreter-v1")
SNAPSHOT = SimpleNamespace(
    template_id="abc",
    name="kept",
    template=LocalTemplate(template_id="base"),
    env={},
    path=Path("kept.tar"),
)


@pytest.fixture
def ask(tmp_path):
    templates = {name: LocalTemplate(template_id=name, memory_mib=512) for name in NAMES}
    config = LocalConfig(state_dir=tmp_path, templates=templates)
    snapshots = SimpleNamespace(find=lambda wanted: SNAPSHOT if wanted.name == "kept" else None)
    fleet = SimpleNamespace(store=SandboxStore(lambda: START), snapshots=snapshots)
    plane = ControlApi(ControlPlane(fleet, config, "sbx.localhost:1"))

    async def ask(target, method="GET", body=b""):
        exchange, wire = exchange_of(method, target, body)
        await plane(exchange)
        return SimpleNamespace(status=wire.status, json=wire.json(), head=wire.head)

    return ask


@pytest.mark.parametrize("alias", ["base", "base:default", "base%3Adefault"])
async def test_a_template_is_found_by_its_name(ask, alias):
    """With the tag that it has, or without one."""
    answer = await ask(f"/templates/aliases/{alias}")

    assert answer.status == 200
    assert answer.json == {"templateID": "base", "public": True}


async def test_a_snapshot_is_found_by_its_name(ask):
    """It can be started like a template, so it exists like one."""
    answer = await ask("/templates/aliases/local%2Fkept%3Adefault")

    assert answer.json == {"templateID": "abc", "public": False}
    assert (await ask("/templates/kept")).status == 404


@pytest.mark.parametrize(
    "alias", ["nope", "base:v2", "nope:default", "local%2Fnope", "team%2Fbase"]
)
async def test_what_is_no_template_is_not_found(ask, alias):
    """The SDK reads the 404 as "does not exist"."""
    answer = await ask(f"/templates/aliases/{alias}")

    assert answer.status == 404
    assert answer.json["code"] == 404
    assert answer.json["message"]


@pytest.mark.parametrize("alias", [":default", "a%20b", "base:%20"])
async def test_what_can_be_no_name_is_refused(ask, alias):
    """A misspelt name is not the same as one that is free."""
    answer = await ask(f"/templates/aliases/{alias}")

    assert answer.status == 400
    assert answer.json["message"].startswith("Invalid template reference: ")


async def test_templates_are_listed_with_every_key(ask):
    """A missing one is a KeyError in the middle of the client."""
    for path in ("/templates", "/default-templates", "/v2/templates"):
        listed = [Template.from_dict(shown) for shown in (await ask(path)).json]
        assert {template.template_id for template in listed} == set(NAMES)
        assert listed[0].memory_mb == 512
        assert listed[0].created_at.timestamp() == START


async def test_templates_are_listed_by_page(ask):
    """Each is seen once."""
    seen, token = [], ""
    while token is not None:
        answer = await ask(f"/v2/templates?limit=3&nextToken={token}")
        seen += [shown["templateID"] for shown in answer.json]
        found = re.search(r"x-next-token: (\S+)", answer.head)
        token = found and found[1]

    assert seen == sorted(NAMES)
    for wrong in ("limit=0", "limit=101", "limit=x", "nextToken=none"):
        assert (await ask(f"/v2/templates?{wrong}")).status == 400


async def test_a_template_has_one_build_and_one_tag(ask):
    """The same wherever it is told."""
    template = TemplateWithBuilds.from_dict((await ask("/templates/base")).json)
    (build,) = template.builds
    (tag,) = [TemplateTag.from_dict(shown) for shown in (await ask("/templates/base/tags")).json]
    status = TemplateBuildInfo.from_dict(
        (await ask(f"/templates/base/builds/{build.build_id}/status")).json
    )
    logs = TemplateBuildLogsResponse.from_dict(
        (await ask(f"/templates/base/builds/{build.build_id}/logs")).json
    )

    assert template.build_id == str(build.build_id) == status.build_id == str(tag.build_id)
    assert (tag.tag, build.status, status.status) == ("default", "ready", "ready")
    assert logs.logs == status.log_entries == []
    assert (await ask("/templates/node")).json["buildID"] != template.build_id
    assert (await ask("/templates/node/builds/x/status")).status == 404
    assert (await ask("/templates/nope")).status == 404


async def test_tags_can_be_counted_looked_up_and_grouped(ask):
    """Their other views agree with the list."""
    count = TemplateTagsCountResponse.from_dict((await ask("/templates/base/tags/count")).json)
    there = TemplateTagExistsResponse.from_dict(
        (await ask("/templates/base/tags/exists?tag=Default")).json
    )
    absent = TemplateTagExistsResponse.from_dict(
        (await ask("/templates/base/tags/exists?tag=v2")).json
    )
    groups = TemplateTagGroupsResponse.from_dict((await ask("/templates/base/tags/groups")).json)
    none = TemplateTagGroupsResponse.from_dict(
        (await ask("/templates/base/tags/groups?search=x")).json
    )
    assignments = TemplateTagAssignmentsResponse.from_dict(
        (await ask("/templates/base/tags/default/assignments")).json
    )

    assert count.total == 1
    assert (there.exists, there.normalized_tag, absent.exists) == (True, "default", False)
    assert groups.tags[0].assignments == assignments.data
    assert len(assignments.data) == 1
    assert none.tags == []
    assert (await ask("/templates/base/tags/exists")).status == 400
    assert (await ask("/templates/nope/tags")).status == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v3/templates"),
        ("POST", "/v2/templates"),
        ("POST", "/templates"),
        ("POST", "/templates/base"),
        ("POST", "/v2/templates/base/builds/x"),
        ("POST", "/templates/base/builds/x"),
        ("GET", "/templates/base/files/abc"),
        ("PATCH", "/templates/base"),
        ("PATCH", "/v2/templates/base"),
        ("POST", "/templates/tags"),
        ("DELETE", "/templates/tags"),
    ],
)
async def test_templates_are_not_built_or_changed(ask, method, path):
    """A status that clients do not repeat, and words that say what to do."""
    answer = await ask(path, method, b'{"name": "x"}')

    assert answer.status == 501
    assert "not supported by the local backend" in answer.json["message"]


@pytest.mark.parametrize("route", UNSUPPORTED, ids=lambda route: f"{route.method} {route.path}")
async def test_what_is_not_there_is_refused_in_words(ask, route):
    """A 404 would read as "there is no such volume"."""
    answer = await ask(re.sub(r"\{\w+\}", "x", route.path), route.method)

    assert answer.status == answer.json["code"] == 501
    assert "not supported by the local backend: " in answer.json["message"]
