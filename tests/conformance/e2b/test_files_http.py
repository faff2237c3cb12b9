"""`/files` and its neighbours as plain HTTP: forms, ranges, conditions, limits."""

from __future__ import annotations

import gzip
import json
import os

import pytest
from e2b.envd.filesystem import filesystem_pb

from tests.support.connect_wire import JSON, PROTO

OCTETS = {"content-type": "application/octet-stream"}


async def upload(box, path, data, **headers):
    query = {"path": path}
    return await box.request(
        "POST", "/files", params=query, content=data, headers={**OCTETS, **headers}
    )


async def download(box, path, **headers):
    return await box.request("GET", "/files", params={"path": path}, headers=headers)


# Up


async def test_an_upload_answers_with_what_was_written(box, name):
    """A list, also of one."""
    response = await upload(box, name, b"x", **{"x-metadata-Key": "v"})
    (entry,) = response.json()

    assert response.status_code == 200
    assert (entry["path"], entry["name"], entry["type"]) == (f"/home/user/{name}", name, "file")
    assert entry["metadata"] == {"key": "v"}


async def test_a_form_may_name_its_files_itself(box, name):
    """In as many parts as there are files."""
    parts = [("file", (f"{name}/{n}/f", f"{n}".encode())) for n in range(3)]
    response = await box.request("POST", "/files", files=parts)

    assert [it["path"] for it in response.json()] == [f"/home/user/{name}/{n}/f" for n in range(3)]
    assert (await download(box, f"{name}/2/f")).content == b"2"


async def test_the_path_of_the_query_wins_over_the_forms(box, name):
    """It is what was signed."""
    response = await box.request(
        "POST", "/files", params={"path": name}, files={"file": ("elsewhere", b"x")}
    )

    assert [it["path"] for it in response.json()] == [f"/home/user/{name}"]


async def test_two_parts_for_one_path_are_refused(box, name):
    """One of them would be lost."""
    parts = [("file", (name, b"1")), ("file", (f"./{name}", b"2"))]
    response = await box.request("POST", "/files", files=parts)

    assert (response.status_code, response.json()["code"]) == (400, 400)


async def test_an_upload_without_a_length_is_read_to_its_end(box, name):
    """Chunked, as streams are."""

    async def body():
        for _ in range(100):
            yield b"x" * 10_007

    assert (await upload(box, name, body())).status_code == 200
    assert (await download(box, name)).content == b"x" * 1_000_700


@pytest.mark.parametrize("form", [False, True])
async def test_a_compressed_upload_is_unpacked(box, name, form):
    """Octets or a form, by `Content-Encoding`."""
    headers = {"content-encoding": "gzip"}
    if form:
        request = box.wire.client.build_request(
            "POST", "http://x/", files={"file": (name, b"packed" * 1000)}
        )
        headers["content-type"] = request.headers["content-type"]
        body = gzip.compress(request.read())
    else:
        headers |= OCTETS
        body = gzip.compress(b"packed" * 1000)
    response = await box.request(
        "POST", "/files", params={"path": name}, content=body, headers=headers
    )

    assert response.status_code == 200, response.text
    assert (await download(box, name)).content == b"packed" * 1000


async def test_what_is_not_compressed_as_said_is_refused(box, name):
    """And leaves nothing half."""
    response = await upload(box, name, b"no gzip at all", **{"content-encoding": "gzip"})

    assert response.status_code == 400
    assert response.json()["code"] == 400


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "text/plain"}, b"x"),
        ({"content-type": "multipart/form-data"}, b"x"),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\n\r\n"),
    ],
)
async def test_an_upload_of_no_known_form_is_refused(box, name, headers, body):
    """In words."""
    response = await box.request(
        "POST", "/files", params={"path": name}, content=body, headers=headers
    )

    assert 400 <= response.status_code < 500
    assert response.json()["code"] == response.status_code


@pytest.mark.parametrize(
    ("key", "value"),
    [("k", "ü"), ("k", "v" * 5000), ("k" * 300, "v")],
    ids=["unprintable", "too much", "too long"],
)
async def test_metadata_has_its_limits(box, name, key, value):
    """As a file system has."""
    response = await upload(box, name, b"x", **{f"x-metadata-{key}": value.encode()})

    assert (response.status_code, response.json()["code"]) == (400, 400)


# Down


async def test_a_download_says_what_it_is(box, name):
    """Shown inline under its name, and never cached under another encoding's."""
    await upload(box, f"{name}/page.html", b"<p>hi")
    response = await download(box, f"{name}/page.html", **{"accept-encoding": "identity"})

    assert response.status_code == 200
    assert response.headers["content-disposition"].startswith("inline")
    assert "page.html" in response.headers["content-disposition"]
    assert response.headers["content-type"].startswith("text/html")
    assert response.headers["content-length"] == "5"
    assert "accept-encoding" in response.headers["vary"].lower()


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-4", 0, 5), ("bytes=5-", 5, 100), ("bytes=-3", 97, 100), ("bytes=90-500", 90, 100)],
)
async def test_a_part_of_a_file_is_read(box, name, asked, start, end):
    """From the front, from the middle, from the back."""
    data = os.urandom(100)
    await upload(box, name, data)
    response = await download(box, name, range=asked, **{"accept-encoding": "identity"})

    assert response.status_code == 206
    assert response.content == data[start:end]
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/100"


async def test_a_part_that_is_not_there_is_refused(box, name):
    """With the size that there is."""
    await upload(box, name, b"x" * 10)
    response = await download(box, name, range="bytes=50-60", **{"accept-encoding": "identity"})

    assert response.status_code == 416
    assert response.headers["content-range"] == "bytes */10"


async def test_what_has_not_changed_is_not_sent_again(box, name):
    """By its time of change."""
    await upload(box, name, b"x")
    first = await download(box, name, **{"accept-encoding": "identity"})
    changed = first.headers["last-modified"]
    second = await download(
        box, name, **{"if-modified-since": changed, "accept-encoding": "identity"}
    )

    assert second.status_code == 304
    assert second.content == b""


async def test_a_compressed_download_is_the_same(box, name):
    """For those who ask for it; others get it as it is."""
    await upload(box, name, b"again " * 10_000)
    packed = await download(box, name, **{"accept-encoding": "gzip"})
    plain = await download(box, name, **{"accept-encoding": "identity"})

    assert packed.content == plain.content == b"again " * 10_000
    assert "content-encoding" not in plain.headers


async def test_nothing_acceptable_is_told(box, name):
    """Not sent all the same."""
    await upload(box, name, b"x")
    response = await download(box, name, **{"accept-encoding": "identity;q=0, br;q=0"})

    assert response.status_code in {400, 406}
    assert response.json()["code"] == response.status_code


async def test_what_cannot_be_read_is_told_as_a_document(box, name):
    """With the words that the SDK's users know."""
    missing = await download(box, name)
    folder = await download(box, "/home/user")

    assert (missing.status_code, missing.json()["code"]) == (404, 404)
    assert missing.json()["message"] == f"path '/home/user/{name}' does not exist"
    assert (folder.status_code, folder.json()["code"]) == (400, 400)
    assert folder.json()["message"] == "path '/home/user' is a directory"


async def test_an_unknown_user_is_told(box):
    """By its name."""
    response = await box.request("GET", "/files", params={"path": "x", "username": "bob"})

    assert (response.status_code, response.json()["code"]) == (401, 401)
    assert response.json()["message"].startswith("error looking up user 'bob'")


async def test_files_of_another_user_go_to_its_home(box, name):
    """`username` says whose."""
    query = {"path": name, "username": "root"}
    written = await box.request("POST", "/files", params=query, content=b"r", headers=OCTETS)

    assert written.json()[0]["path"] == f"/root/{name}"
    assert (await box.request("GET", "/files", params=query)).content == b"r"


# Put together


async def test_parts_are_put_together_and_gone(box, name):
    """What an upload in pieces ends with."""
    for number in range(3):
        await upload(box, f"{name}/part{number}", b"%d" % number * 10)
    document = {
        "source_paths": [f"{name}/part{number}" for number in range(3)],
        "destination": f"{name}/whole",
    }
    response = await box.request("POST", "/files/compose", json=document)
    parts = await box.run(f"ls {name}")

    assert response.status_code == 200, response.text
    assert response.json()["path"] == f"/home/user/{name}/whole"
    assert (await download(box, f"{name}/whole")).content == b"0" * 10 + b"1" * 10 + b"2" * 10
    assert parts == "whole\n"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"source_paths": [], "destination": "x"},
        {"source_paths": ["no-such-part"], "destination": "x"},
        {"source_paths": "x", "destination": "y"},
    ],
)
async def test_parts_that_cannot_be_put_together_are_refused(box, document):
    """And nothing is made of them."""
    response = await box.request("POST", "/files/compose", json=document)

    assert response.status_code in {400, 404}
    assert response.json()["code"] == response.status_code


# Beside files


async def test_health_says_that_it_lives(box):
    """Without a token, with nothing in it."""
    response = await box.request("GET", "/health", token=None)

    assert (response.status_code, response.content) == (204, b"")


async def test_variables_of_the_sandbox_are_shown(new_box):
    """Those that every program gets."""
    box = await new_box(envVars={"A": "b c"})
    response = await box.request("GET", "/envs")

    assert response.json()["A"] == "b c"
    assert response.json()["E2B_SANDBOX_ID"] == box.id


async def test_metrics_have_the_fields_of_envd(box):
    """Numbers, all of them."""
    document = (await box.request("GET", "/metrics")).json()

    assert document.keys() >= {
        "ts",
        "cpu_count",
        "cpu_used_pct",
        "mem_total",
        "mem_used",
        "mem_total_mib",
        "mem_used_mib",
        "disk_used",
        "disk_total",
    }
    assert all(isinstance(value, int | float) for value in document.values())


async def test_browsers_of_other_origins_may_call(box):
    """CORS: envd is open to all of them."""
    response = await box.request(
        "OPTIONS",
        "/files",
        token=None,
        headers={
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "x-access-token",
        },
    )

    assert response.status_code in {200, 204}
    assert response.headers["access-control-allow-origin"] == "*"


# The filesystem service itself


@pytest.mark.parametrize("codec", [JSON, PROTO], ids=["json", "proto"])
async def test_folders_are_handled_in_both_codecs(box, name, codec):
    """Made, looked at, moved, listed, removed."""
    service = "/filesystem.Filesystem"
    kinds = filesystem_pb
    made = await box.call(
        f"{service}/MakeDir", kinds.MakeDirRequest(path=name), kinds.MakeDirResponse, codec
    )
    again = await box.call(f"{service}/MakeDir", kinds.MakeDirRequest(path=name), None, codec)
    seen = await box.call(
        f"{service}/Stat", kinds.StatRequest(path=name), kinds.StatResponse, codec
    )
    moving = kinds.MoveRequest(source=name, destination=f"{name}-2/in")
    moved = await box.call(f"{service}/Move", moving, kinds.MoveResponse, codec)
    listing = kinds.ListDirRequest(path=f"{name}-2")
    listed = await box.call(f"{service}/ListDir", listing, kinds.ListDirResponse, codec)
    await box.call(
        f"{service}/Remove", kinds.RemoveRequest(path=f"{name}-2"), kinds.RemoveResponse, codec
    )
    gone = await box.call(f"{service}/Stat", kinds.StatRequest(path=f"{name}-2"), None, codec)

    assert made.entry.type == seen.entry.type == kinds.FileType.DIRECTORY
    assert (again["status"], again["code"]) == (409, "already_exists")
    assert moved.entry.path == f"/home/user/{name}-2/in"
    assert [entry.name for entry in listed.entries] == ["in"]
    assert (gone["status"], gone["code"]) == (404, "not_found")


async def test_a_listing_keeps_the_way_it_was_asked_for(box, name):
    """A link on the way stays one in every path."""
    await box.run(f"mkdir -p {name}/real/sub; ln -s real {name}/link")
    request = filesystem_pb.ListDirRequest(path=f"/home/user/{name}/link", depth=2)
    listed = await box.call(
        "/filesystem.Filesystem/ListDir", request, filesystem_pb.ListDirResponse
    )

    assert [entry.path for entry in listed.entries] == [f"/home/user/{name}/link/sub"]


async def test_a_link_to_nowhere_is_an_entry(box, name):
    """Of no kind, and with itself as its target."""
    await box.run(f"mkdir {name}; ln -s /no/where {name}/link")
    request = filesystem_pb.ListDirRequest(path=name)
    listed = await box.call(
        "/filesystem.Filesystem/ListDir", request, filesystem_pb.ListDirResponse
    )
    (entry,) = listed.entries

    assert entry.name == "link"
    assert entry.type == filesystem_pb.FileType.UNSPECIFIED
    assert entry.permissions == "Lrwxrwxrwx"
    assert entry.symlink_target


async def test_an_error_is_a_document(box):
    """Of the protocol's form."""
    response = await box.request(
        "POST",
        "/filesystem.Filesystem/Stat",
        content=json.dumps({"path": "/no/such"}),
        headers={"content-type": "application/json"},
    )

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert response.json()["code"] == "not_found"
