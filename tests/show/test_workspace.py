"""The W&B workspace: which keys of a real run each panel shows, and saving it as a process."""

import http.server
import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest

from lightning_semgeom import History, SemanticGeometry
from lightning_semgeom.commands.cli import main
from lightning_semgeom.show.loggers import run_folder
from lightning_semgeom.show.workspace import DEFAULT_SITES, sites_of, workspace
from tests import models
from tests.warm import python

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style")  # of wandb_workspaces

ATTRIBUTES = ("colour", "size")
HIDDEN = ["hidden.body", "hidden.body.0"]
SITES = ["unembedding", "embedding", *HIDDEN]
KEY = "a" * 40
COMMAND = ("wandb-workspace", "--entity", "us", "--project", "ours")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a run with a callback and its control."""
    options = {"embedding": True, "hidden": ["body", "body.0"], "growth": None}
    callbacks = [
        SemanticGeometry(models.table(), **options),
        SemanticGeometry(models.table().shuffled(0), name="semgeom_control", **options),
    ]
    trainer = models.trainer(tmp_path_factory.mktemp("run"), *callbacks, max_steps=2)
    trainer.fit(models.TinyModel(), models.batches())
    return run_folder(trainer)


@pytest.fixture(scope="module")
def keys(folder):
    """All keys of the run, and some that others may log beside them."""
    histories = [History.load(folder / name) for name in ("semgeom", "semgeom_control")]
    logged = {key for history in histories for key in history.keys}
    return logged | {"train_loss", "semgeom_hidden_body/z/colour", "my_semgeom_embedding/z/size"}


def built(*arguments):
    """The sections of the workspace, as they would be sent."""
    view = workspace("us", "ours", *arguments)._to_model()
    return sections_of(json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True)))


def sections_of(spec):
    """Name of each section -> its panels by title, all in order."""
    return {
        section["name"]: {panel["config"]["chartTitle"]: panel for panel in section["panels"]}
        for section in spec["section"]["panelBankConfig"]["sections"]
    }


def shown(panel, keys):
    """The keys that a line plot shows; its pattern may match anywhere in a key."""
    config = panel["config"]
    assert config.get("useMetricRegex", False) == ("metricRegex" in config)
    matches = re.compile(config.get("metricRegex", "(?!)")).search
    return {key for key in keys if key in config["metrics"] or matches(key)}


def by_attribute(metric, sites, name):
    return {f"{name}_{site}/{metric}/{a}" for site in sites for a in ATTRIBUTES}


def check_lines(sections, sites_of_section, keys, name):
    headline = sections["Headline"]
    assert list(headline) == ["gap", "z", "asymmetry", "phase"]
    assert all(shown(panel, keys) == {f"{name}/{key}"} for key, panel in headline.items())
    for section, sites in sites_of_section.items():
        gap, z, strength, partial, parts = sections[section].values()
        assert shown(gap, keys) == by_attribute("gap", sites, name)
        assert shown(z, keys) == by_attribute("z", sites, name)
        assert shown(strength, keys) == by_attribute("strength", sites, name)
        assert shown(partial, keys) == by_attribute("partial_gap", sites, name)
        assert shown(parts, keys) == {
            f"{name}_{site}/{metric}" for site in sites for metric in ("within", "between")
        }
    for section in ("Headline", *sites_of_section):
        for panel in sections[section].values():
            assert panel["viewType"] == "Run History Line Plot"
            assert panel["config"]["xAxis"] == "trainer/global_step"
            assert panel["config"]["xLogScale"] is True


@pytest.mark.parametrize("name", ["semgeom", "semgeom_control"])
def test_each_site_of_a_run_has_its_section_with_its_own_keys_alone(folder, keys, name):
    sites = sites_of(folder, name)
    assert sites == SITES
    sections = built(sites, name)
    assert list(sections) == ["Headline", *SITES, "Pictures"]
    check_lines(sections, {site: [site] for site in SITES}, keys, name)


def test_without_a_run_one_section_has_all_hidden_sites(keys):
    sections = built()
    assert list(sections) == ["Headline", *DEFAULT_SITES, "Pictures"]
    matched = {"unembedding": ["unembedding"], "embedding": ["embedding"], "hidden": HIDDEN}
    check_lines(sections, matched, keys, "semgeom")
    assert list(sections["Pictures"]) == ["unembedding", "embedding", "timeline"]


def test_the_pictures_of_a_site_are_one_gallery_by_step():
    panels = built(SITES)["Pictures"]
    assert {title: panel["config"]["mediaKeys"] for title, panel in panels.items()} == {
        **{s: [f"semgeom_gram/{s}", f"semgeom_shared/{s}", f"semgeom_map/{s}"] for s in SITES},
        "timeline": ["semgeom/timeline"],
    }
    for panel in panels.values():
        assert panel["viewType"] == "Media Browser"
        assert panel["config"]["mode"] == "gallery"
        assert panel["config"]["gallerySettings"] == {"axis": "step"}


def run(tmp_path, *arguments, **environment):
    """The command without a login of the machine's own; its exit status, stdout and stderr."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    environment = clean | {"HOME": str(tmp_path), "WANDB_HTTP_TIMEOUT": "3"} | environment
    command = "-m", "lightning_semgeom.commands.cli", *COMMAND, *arguments
    try:
        done = python(*command, env=environment, timeout=60)
    except subprocess.TimeoutExpired:
        # W&B's service did not end with its process, once in thirty runs of the suite.
        done = python(*command, env=environment, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def server():
    """Answers as W&B's own for a key that it knows, or refuses it; keeps what it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        status, sent = 200, []

        def do_POST(self):
            text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/graphql":
                self.sent.append(json.loads(text))
            viewer = {"id": "1", "entity": "us", "username": "me", "teams": {"edges": []}}
            saved = {"view": {"id": "2", "name": "nw-abc-v"}, "inserted": True}
            answer = json.dumps({"data": {"viewer": viewer, "upsertView": saved}}).encode()
            self.send_response(self.status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        Handler.url = f"http://127.0.0.1:{listening.server_port}"
        yield Handler
        listening.shutdown()
        thread.join()


@pytest.mark.processes
def test_the_command_saves_the_view_of_a_run_and_prints_its_address(tmp_path, folder, keys, server):
    login = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
    status, out, err = run(tmp_path, folder, "--name", "semgeom_control", **login)
    assert (status, out, err) == (0, f"{server.url}/us/ours?nw=abc\n", "")
    sent = next(s["variables"] for s in server.sent if "upsertView" in s["query"])
    assert (sent["entityName"], sent["projectName"]) == ("us", "ours")
    assert sent["displayName"] == "semgeom_control"
    sections = sections_of(json.loads(sent["spec"]))
    assert list(sections) == ["Headline", *SITES, "Pictures"]
    check_lines(sections, {site: [site] for site in SITES}, keys, "semgeom_control")


def check_refusal(status, out, err, reason):
    assert (status, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("lightning-semgeom: the workspace was not saved")
    assert reason in line
    assert "Saving needs the network, and a login: run `wandb login` first." in line


@pytest.mark.processes
def test_a_key_that_is_none_is_told_in_one_line(tmp_path):
    check_refusal(*run(tmp_path, WANDB_API_KEY="abc"), "API key must have 40+ characters")


@pytest.mark.processes
def test_a_key_that_the_server_refuses_is_told_in_one_line(tmp_path, server):
    server.status = 401
    told = run(tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY)
    check_refusal(*told, "error 401")


@pytest.mark.processes
def test_a_server_out_of_reach_is_told_in_one_line(tmp_path):
    told = run(tmp_path, WANDB_BASE_URL="http://127.0.0.1:9", WANDB_API_KEY=KEY)
    check_refusal(*told, "Failed to verify credentials with http://127.0.0.1:9")


@pytest.mark.processes
def test_no_login_is_told_in_one_line_and_nothing_is_asked_at_a_terminal(tmp_path, monkeypatch):
    for key in [key for key in os.environ if key.startswith("WANDB")]:
        monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    ours, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "lightning_semgeom.commands.cli", *COMMAND],
        stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=False,
    )  # fmt: skip
    told = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(terminal)
    check_refusal(done.returncode, done.stdout.decode(), told, "No API key configured")


def test_a_missing_package_says_how_to_install_it(monkeypatch, capsys):
    for module in ("wandb_workspaces", "wandb_workspaces.workspaces"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main([*COMMAND]) == 2
    told = capsys.readouterr()
    assert "pip install 'lightning-semgeom[workspace]'" in told.err
    assert len(told.err.splitlines()) == 1


def test_a_folder_without_the_history_of_that_name_is_an_error(folder, tmp_path, capsys):
    assert main([*COMMAND, str(tmp_path)]) == 2
    assert f"no history at '{tmp_path}/history.jsonl'" in capsys.readouterr().err
    assert main([*COMMAND, str(folder / "semgeom_control")]) == 2
    assert "'semgeom/'; it has the name 'semgeom_control'" in capsys.readouterr().err


def test_the_command_says_which_arguments_it_needs(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["wandb-workspace", "--entity", "us"])
    assert "the following arguments are required: --project" in capsys.readouterr().err
