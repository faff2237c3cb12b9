"""`sandbox-service local` as a person starts it, and what it tells a shell."""

from __future__ import annotations

import http.server
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import contextmanager

import pytest

from tests.integration.local_backend import state_folder
from tests.support.service import command_line, environment

KEY = "e2b_" + "b2" * 20


@contextmanager
def started(*arguments, **variables):
    """A backend that says it is ready; yields what it said to programs and to people."""
    state = state_folder()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command_line("local", "--port=0", f"--state-dir={state}", *arguments),
            cwd=tempfile.gettempdir(),
            env=environment(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            told = json.loads(process.stdout.readline() or "{}")

            def words():
                errors.seek(0)
                return errors.read()

            yield told, words
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
            process.stdout.close()
            shutil.rmtree(state, ignore_errors=True)
    assert code == 0


def run(*arguments, **variables):
    return subprocess.run(
        command_line("local", *arguments),
        cwd=tempfile.gettempdir(),
        env=environment(variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def backend():
    with started(SANDBOX_LOCAL_API_KEY=KEY) as running:
        yield running


def test_it_says_where_it_is_and_what_to_do_next(backend):
    """A program reads one line of JSON; a person reads what to type."""
    told, words = backend

    assert told["ready"]
    assert told["url"] in words()
    assert told["tier"] in words()
    for end in ("--env)", "--env --tls)"):
        assert f'local --port {told["port"]} {end}"' in words()
    assert KEY not in words()


@pytest.mark.parametrize("mode", [(), ("--tls",)])
def test_a_shell_that_evaluates_its_exports_can_use_the_sdk(backend, mode):
    """Nothing but the printed lines leads an unmodified program here."""
    told, _ = backend
    exports = run("--env", *mode, f"--port={told['port']}", SANDBOX_LOCAL_API_KEY=KEY)
    program = (
        "import e2b; s = e2b.Sandbox.create(timeout=30);"
        " print(s.commands.run('echo from $E2B_SANDBOX_ID').stdout, end=''); s.kill()"
    )
    script = f"{exports.stdout}\nexec {shlex.join([command_line()[0], '-c', program])}"
    ran = subprocess.run(
        ["/bin/sh", "-c", script],
        env=environment({"NO_PROXY": "localhost,other"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert exports.returncode == 0, exports.stderr
    assert ran.stdout.startswith("from i"), ran.stderr


def test_a_key_that_is_not_there_is_named(backend):
    """The exports would make a client that is refused everywhere."""
    told, _ = backend
    missing = run("--env", f"--port={told['port']}")

    assert missing.returncode == 1
    assert missing.stdout == ""
    assert "SANDBOX_LOCAL_API_KEY" in missing.stderr


def test_without_a_server_there_are_no_exports():
    """`eval` of nothing leaves a shell as it was, and the words say what to start."""
    nothing = run("--env", "--port=1")

    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "No backend answers" in nothing.stderr
    assert "local --port 1" in nothing.stderr


def test_something_else_on_the_port_is_not_taken_for_a_backend():
    """Its answers would be evaluated by a shell."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        stranger = run("--env", f"--port={server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert (stranger.returncode, stranger.stdout) == (1, "")
    assert "is no local backend" in stranger.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--domain=../etc"], "is no domain name"),
        (["--templates=/nowhere.json"], "cannot read the templates file"),
        (["--bwrap=/nowhere/bwrap"], "cannot start"),
    ],
)
def test_settings_that_cannot_work_are_told_and_end_it(arguments, words):
    """A cause and what to do, not a traceback."""
    state = state_folder()
    ended = run("--port=0", f"--state-dir={state}", *arguments)
    shutil.rmtree(state)

    assert ended.returncode == 2
    assert words in ended.stderr.lower()
    assert "traceback" not in ended.stderr.lower()


def test_its_help_teaches():
    """Who has only the command must find the way to the first sandbox."""
    shown = run("--help").stdout

    assert 'eval "$(sandbox-service local --env)"' in shown
    for word in ("--tls", "HTTPS_PROXY", "SANDBOX_LOCAL_API_KEY", "--faults", "--max-sandboxes"):
        assert word in shown
    assert os.linesep + "In another:" in shown.replace("  ", "")
