"""What is told of a sync: the same to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from miosa.sandbox import v1 as pb

from sandbox_service.app.sync_report import Report
from sandbox_service.client.errors import SyncError
from sandbox_service.client.ignores import Ignores
from sandbox_service.client.plan import Plan
from sandbox_service.client.sync import Synced
from sandbox_service.client.tree import File, Stamp, Tree
from sandbox_service.client.work import Work

ADDED, MODIFIED, DELETED = range(1, 4)


def synced(receipt=None, *, identical=True, left_out=None, stuck=(), work=None):
    """Return what a sync of nobody's folder came to."""
    tree = Tree(Path("/nowhere"), Ignores(), left_out=left_out or {})
    plan = Plan({"new"}, {"old": pb.Difference(path="old")}, {})
    plan.summary = pb.PlanSyncSummary(equal=7, root="/home/user/app")
    return Synced(plan, work or Work(), receipt, b"d" * 32, identical, tree, stuck)


def receipt(**fields):
    changes = [
        pb.PathChange(path=path, kind=kind)
        for path, kind in (("a", ADDED), ("b\n", MODIFIED), ("c", DELETED))
    ]
    told = {"root": "/r", "added": 1, "modified": 1, "deleted": 1, "received_bytes": 2048}
    return pb.SyncFilesResponse(**{**told, "changes": changes, **fields})


def told(capsys, it, *, as_json, dry_run=False, listening=None):
    """Return the exit code, what was told, and what was complained of."""
    code = Report(as_json=as_json, dry_run=dry_run).synced(it, listening=listening)
    out, err = capsys.readouterr()
    return code, json.loads(out) if as_json else out, err


def both(capsys, it, **how):
    """Return a sync as people and as programs see it, and what ends on standard error."""
    code, text, err = told(capsys, it, as_json=False, **how)
    again, record, same = told(capsys, it, as_json=True, **how)
    assert (code, err) == (again, same)
    return code, text, record, err


def test_a_receipt_tells_each_change_and_their_number(capsys):
    """Names that no terminal can show are quoted."""
    code, text, record, err = both(capsys, synced(receipt()))

    assert (code, err) == (0, "")
    assert text.splitlines() == [
        "+ a",
        "~ 'b\\n'",
        "- c",
        "1 added, 1 modified, 1 deleted in /r, 2.0 KiB sent; both digests are the same",
    ]
    assert record["changes"] == [
        {"kind": "added", "path": "a"},
        {"kind": "modified", "path": "'b\\n'"},
        {"kind": "deleted", "path": "c"},
    ]
    wanted = {
        "root": "/r",
        "dry_run": False,
        "changes_truncated": False,
        "added": 1,
        "modified": 1,
        "deleted": 1,
        "sent_bytes": 2048,
        "planned": 2,
        "equal": 7,
        "identical": True,
        "stuck": [],
        "reload": None,
        "listening": None,
    }
    assert {name: record[name] for name in wanted} == wanted


def test_a_plan_tells_what_would_be_done(capsys):
    """To programs as well."""
    files = {it: File(it, 0o644, Stamp(1, 1, 10, 0, 0)) for it in ("new", "old")}
    it = synced(work=Work(files=files, deletes=["gone"], kept=["log"]))
    _, text, record, _ = both(capsys, it, dry_run=True)

    assert text.splitlines() == [
        "delete  gone",
        "add     new",
        "change  old",
        "3 to change, 7 the same, 20 B to send, 1 only there and kept",
    ]
    assert [(it["kind"], it["path"]) for it in record["changes"]] == [
        ("deleted", "gone"),
        ("added", "new"),
        ("modified", "old"),
    ]
    assert (record["dry_run"], record["root"]) == (True, "/home/user/app")
    assert (record["to_send_bytes"], record["to_delete"], record["kept"]) == (20, 1, 1)


@pytest.mark.parametrize("it", [None, pb.SyncFilesResponse(root="/r")])
def test_nothing_is_told_of_nothing(capsys, it):
    """Also when the service was asked to make an empty root."""
    code, text, record, _ = both(capsys, synced(it))

    assert (code, text) == (0, "nothing to do: 7 the same\n")
    assert record["changes"] == []


def test_what_stays_and_what_was_left_out_is_told(capsys):
    """A program has to know it as well as a person."""
    it = synced(receipt(), left_out={"pipe": "is a pipe"}, stuck=["d"], identical=None)
    code, text, record, err = both(capsys, it)

    assert code == 3
    assert "the sandbox keeps what only it has" in text
    assert [line.partition(",")[0] for line in err.splitlines()] == [
        "left out: pipe is a pipe",
        "still in the sandbox: d",
    ]
    assert (record["left_out"], record["stuck"]) == ({"pipe": "is a pipe"}, ["d"])
    assert record["identical"] is None


def test_the_same_is_not_complained_of_twice(capsys):
    """While a folder is watched."""
    report = Report(as_json=False, dry_run=False)
    for left_out in ({"a": "is odd"}, {"a": "is odd", "b": "is odd"}, {}, {"a": "is odd"}):
        report.synced(synced(receipt(), left_out=left_out), listening=None)

    assert capsys.readouterr().err.splitlines() == [
        "left out: a is odd",
        "left out: b is odd",
        "left out: a is odd",
    ]


@pytest.mark.parametrize(
    ("reload", "code", "line", "field"),
    [
        ({"exit_code": 0, "output_tail": b"hi"}, 0, "reload: exit code 0\nhi\n", "exit_code"),
        ({"exit_code": 9}, 4, "reload: exit code 9\n", "exit_code"),
        ({"running": True, "exec_id": "e1"}, 0, "reload: runs as e1\n", "running"),
        ({"signal": "KILL"}, 4, "reload: ended by KILL\n", "signal"),
        (
            {"exec_id": "web", "running": True, "delivered": True},
            0,
            "reload: web got the signal\n",
            "delivered",
        ),
        (
            {"exec_id": "web", "exit_code": 0, "delivered": False},
            4,
            "reload: web had ended: no signal was sent\n",
            "delivered",
        ),
    ],
)
def test_what_became_of_a_reload_is_told(capsys, reload, code, line, field):
    """Whoever was not reloaded runs the old files: that is a failure."""
    seen, text, record, _ = both(capsys, synced(receipt(reload=pb.ReloadResult(**reload))))

    assert seen == code
    assert text.endswith(line)
    assert record["reload"][field] == reload[field]


def test_a_reload_that_could_not_start_is_complained_of(capsys):
    """With the service's own words."""
    refused = pb.ReloadResult(refusal_message="There is no such folder.")
    code, record, err = told(capsys, synced(receipt(reload=refused)), as_json=True)
    _, text, complaint = told(capsys, synced(receipt(reload=refused)), as_json=False)

    assert code == 4
    assert record["reload"]["refused"] == "There is no such folder."
    assert "reload" not in text
    assert complaint == "reload: There is no such folder.\n"
    assert err == ""


@pytest.mark.parametrize(("listening", "code"), [(True, 0), (False, 5)])
def test_whether_the_preview_listens_is_told_to_who_asked(capsys, listening, code):
    """A script goes on only when there is something to open."""
    seen, text, record, _ = both(capsys, synced(), listening=listening)

    assert seen == code
    assert f"preview: {'something' if listening else 'nothing'} listens\n" in text
    assert record["listening"] is listening


def test_a_failure_is_told_to_programs_too(capsys):
    """One that reads lines must not wait for one that never comes."""
    Report(as_json=True, dry_run=False).failed(SyncError("It broke.", "Mend it.", "DISK_FULL"))
    out, err = capsys.readouterr()

    assert json.loads(out) == {"error": "It broke.", "advice": "Mend it.", "reason": "DISK_FULL"}
    assert err == "It broke.\nWhat to do: Mend it.\n"
