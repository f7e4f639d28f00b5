"""A store that takes connections and never answers holds neither training nor its end."""

import threading
import time

import pytest
import torch
from s3fs import S3FileSystem

from lightning_semgeom import History
from lightning_semgeom.faults import AwayError
from lightning_semgeom.record import beside
from lightning_semgeom.record.beside import Beside
from lightning_semgeom.stores import place
from tests.record.test_stores import STEPS, Away, assert_same, fit, fit_alone, ours
from tests.stores import Gate

PLACE = place("memory://a")


@pytest.fixture
def gate(s3, monkeypatch):
    """`s3://bucket` by way of a gate."""
    gate = Gate(s3.port)
    monkeypatch.setenv("AWS_ENDPOINT_URL", gate.address)
    S3FileSystem.clear_instance_cache()
    yield gate
    gate.open()
    awaited(lambda: not threads())
    S3FileSystem.clear_instance_cache()
    gate.stop()


def threads():
    return [one for one in threading.enumerate() if one.name == "semgeom store"]


def awaited(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def closing(gate, at_the_start, last):
    absent = Away(gate.close, gate.open, last=last)
    if at_the_start:
        absent.on_fit_start = lambda trainer, pl_module: gate.close()
    return absent


@pytest.mark.parametrize("at_the_start", [False, True])
def test_a_run_ends_while_its_store_never_answers(gate, tmp_path, monkeypatch, at_the_start):
    monkeypatch.setattr(beside, "LONGEST", 0.5)
    begin = time.monotonic()
    with pytest.warns(UserWarning, match="it has not answered for 0.5 seconds") as told:
        _, head = fit("s3://bucket/a", closing(gate, at_the_start, last=STEPS + 9))
    assert time.monotonic() - begin < 8  # twice .5, and all else
    assert len(ours(told)) == 1, ours(told)
    assert len(threads()) == 1
    assert torch.equal(head, fit_alone(tmp_path / "alone"))
    gate.open()  # what hung goes on, and is of all records
    awaited(lambda: not threads())
    steps = [record.step for record in History.load("s3://bucket/a/semgeom")]
    assert steps == [*range(len(steps))]
    assert len(steps) >= 2


@pytest.mark.parametrize("at_the_start", [False, True])
def test_what_was_missed_is_written_once_and_in_order(gate, tmp_path, monkeypatch, at_the_start):
    monkeypatch.setattr(beside, "LONGEST", 3)
    with pytest.warns(UserWarning, match="it has not answered for 3 seconds") as told:
        _, head = fit("s3://bucket/a", closing(gate, at_the_start, last=4))
    assert len(ours(told)) == 1, ours(told)
    assert torch.equal(head, fit_alone(tmp_path / "alone"))
    fit(tmp_path / "here")
    assert_same(History.load("s3://bucket/a/semgeom"), History.load(tmp_path / "here/semgeom"))


def test_nothing_is_begun_before_what_hangs_is_over_and_nothing_is_waited_for_twice(monkeypatch):
    monkeypatch.setattr(beside, "LONGEST", 0.2)
    one, done, go_on = Beside(), [], threading.Event()
    with pytest.raises(AwayError, match=r"'memory://a': it has not answered for 0.2 seconds"):
        one.do(PLACE, lambda: go_on.wait() and done.append(1))
    begin = time.monotonic()
    for _ in range(3):
        with pytest.raises(AwayError, match="it has not yet answered what it was asked before"):
            one.do(PLACE, lambda: done.append(2))
    with pytest.raises(AwayError, match="has not answered"):
        one.do_at_last(PLACE, lambda: done.append(2))
    assert time.monotonic() - begin < 0.3
    assert one.do(place("/here"), lambda: 7) == 7
    go_on.set()
    one.do_at_last(PLACE, lambda: done.append(3))
    assert done == [1, 3]  # it may lack what came while it was under way
    one.do(PLACE, lambda: done.append(4))
    assert done == [1, 3, 4]
    one.stop()
    awaited(lambda: not threads())


def test_after_a_failure_the_next_is_not_waited_for_until_one_has_gone_well(monkeypatch):
    one, go_on = Beside(), threading.Event()
    with pytest.raises(ZeroDivisionError):
        one.do(PLACE, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.do(PLACE, go_on.wait)  # begun, and what was wrong before is told
    go_on.set()
    awaited(one._is_over.is_set)
    assert one.do(PLACE, lambda: 5) == 5
    with pytest.raises(KeyError):
        one.do(PLACE, lambda: {}["a"])
    one.do_at_last(PLACE, lambda: None)
    one.stop()
    awaited(lambda: not threads())
