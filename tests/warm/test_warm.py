"""What answers is a process as any other: what it is given, what it says, and how it ends."""

import os
import signal
import subprocess
import sys

import pytest

from tests.warm import executable, python

pytestmark = pytest.mark.processes


def test_code_has_its_arguments_environment_and_folder(tmp_path):
    code = "import os, sys; print(sys.argv, os.environ['ONE'], os.getcwd(), sys.path[0] == '')"
    done = python("-c", code, "a", 1, cwd=tmp_path, env=os.environ | {"ONE": "two"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"['-c', 'a', '1'] two {tmp_path} True\n"


def test_a_script_and_a_module_are_main_and_find_their_neighbours(tmp_path):
    (tmp_path / "beside.py").write_text("FOUND = 7\n")
    script = tmp_path / "script.py"
    script.write_text("import beside, sys\nprint(__name__, beside.FOUND, sys.argv[1:])\n")
    for arguments in ((script, "x"), ("-m", "script", "x")):
        done = python(*arguments, cwd=tmp_path)
        assert done.stdout == "__main__ 7 ['x']\n", done.stderr


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("import atexit, sys; atexit.register(print, 'end', file=sys.stderr)", 0, "end\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_it_ends_as_a_process_ends(code, status, told):
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (status, told)


def test_a_fault_is_a_traceback_and_warnings_are_as_asked():
    failed = python("-c", "1 / 0")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Traceback")
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    code = "import warnings; warnings.warn('heard')"
    assert "heard" in python("-c", code).stderr
    assert python("-W", "ignore", "-c", code).stderr == ""


def test_who_is_killed_takes_the_process_with_it(tmp_path):
    code = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"
    client = subprocess.Popen([executable(), "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(client.stdout.readline())
    os.kill(worker, 0)
    client.kill()
    client.wait()
    client.stdout.close()
    deadline = python("-c", "import time; time.sleep(0.3)")  # the server looks every 20 ms
    assert deadline.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_processes_that_it_starts_are_of_its_kind():
    done = python("-c", "import sys; print(sys.executable)")
    assert done.stdout.strip() == executable() != sys.executable
