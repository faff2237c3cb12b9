"""What the SDK offers and this backend has not is refused at once and in words."""

from __future__ import annotations

import e2b
import pytest
from e2b import AsyncSecret, AsyncTemplate, AsyncVolume, Secret, Template, Volume

from tests.integration.e2b_wire import connected


@pytest.fixture(scope="module")
def api(backend):
    """What calls of the API alone take."""
    return {"api_key": backend.sdk["api_key"], "api_url": backend.url}


async def test_templates_exist_or_not(api):
    """Whoever builds what is missing asks this first."""
    assert Template.exists("base", **api)
    assert Template.alias_exists("base:default", **api)
    assert not Template.exists("no-such-template", **api)
    assert not Template.exists("base:v9", **api)
    assert await AsyncTemplate.exists("base", **api)
    assert await AsyncTemplate.alias_exists("python:default", **api)
    assert not await AsyncTemplate.exists("no-such-template", **api)


async def test_a_template_has_one_tag(api):
    """It is what `name` means without a tag."""
    (tag,) = Template.get_tags("base", **api)

    assert tag.tag == "default"
    assert await AsyncTemplate.get_tags("base", **api) == [tag]
    with pytest.raises(e2b.TemplateException, match="'nope' not found"):
        Template.get_tags("nope", **api)


async def test_building_is_refused_before_anything_is_sent(api):
    """With what to do instead, and without a wait for a build that never ends."""
    words = "501: Building templates is not supported by the local backend"
    built = Template().from_python_image("3").run_cmd("true")
    with pytest.raises(e2b.BuildException, match=words):
        Template.build(built, "mine", **api)
    with pytest.raises(e2b.BuildException, match=words):
        Template.build_in_background(built, "mine", **api)
    built = AsyncTemplate().from_template("base").run_cmd("true")
    with pytest.raises(e2b.BuildException, match=words):
        await AsyncTemplate.build(built, "mine", **api)
    with pytest.raises(e2b.BuildException, match=words):
        await AsyncTemplate.build_in_background(built, "mine", **api)


async def test_tags_cannot_be_changed(api):
    """Refused, not forgotten."""
    words = "501: Changing templates and their tags is not supported"
    with pytest.raises(e2b.TemplateException, match=words):
        Template.assign_tags("base", ["v1"], **api)
    with pytest.raises(e2b.TemplateException, match=words):
        await AsyncTemplate.remove_tags("base", ["v1"], **api)


async def test_volumes_and_secrets_are_refused(api):
    """Not even "not found": there is no place to find them in."""
    for call in (
        lambda: Volume.create("v", **api),
        lambda: Volume.connect("v", **api),
        lambda: Volume.list(**api),
        lambda: Volume.destroy("v", **api),
    ):
        with pytest.raises(e2b.VolumeException, match="501: Volumes are not supported"):
            call()
    for call in (
        lambda: Secret.create("S", "value", **api),
        lambda: Secret.get_info("S", **api),
        lambda: Secret.list(**api).next_items(),
        lambda: Secret.destroy("S", **api),
    ):
        with pytest.raises(e2b.SecretException, match="501: Secrets are not supported"):
            call()
    with pytest.raises(e2b.VolumeException, match="501: Volumes are not supported"):
        await AsyncVolume.create("v", **api)
    with pytest.raises(e2b.SecretException, match="501: Secrets are not supported"):
        await AsyncSecret.create("S", "value", **api)


async def test_a_refusal_is_not_worth_repeating(backend):
    """The SDK repeats 502, 503 and 504, and whatever says that it should."""
    async with connected(backend) as client:
        for method, path in (("POST", "/v3/templates"), ("POST", "/volumes")):
            response = await client.request(method, path, json={"name": "x"})
            assert response.status_code == 501
            assert response.headers.get("should-retry", "false") == "false"
            assert response.json()["code"] == 501
