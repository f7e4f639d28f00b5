"""Addresses of stores and paths of this machine, told apart and read again."""

from pathlib import Path

import pytest

from lightning_semgeom import stores
from lightning_semgeom.faults import AwayError


@pytest.mark.parametrize(
    ("path", "protocol", "text"),
    [
        ("s3://bucket/runs", "s3", "s3://bucket/runs"),
        (Path("s3://bucket/runs"), "s3", "s3://bucket/runs"),
        ("gs://bucket/x", "gs", "gs://bucket/x"),
        ("memory://a/b", "memory", "memory://a/b"),
        (Path("memory://a/b"), "memory", "memory://a/b"),
        ("simplecache::s3://bucket/x", "simplecache", "simplecache::s3://bucket/x"),
        (Path("simplecache::s3://bucket/x"), "simplecache", "simplecache::s3://bucket/x"),
        ("/runs", "", "/runs"),
        ("file:///runs/a", "", "/runs/a"),
        (Path("file:///runs/a"), "", "/runs/a"),
        ("local:///runs/a", "", "/runs/a"),
        ("C:/runs", "", None),
        (r"C:\runs", "", None),
        ("a:b/c", "", None),
        ("runs/s3:/x", "", None),
    ],
)
def test_an_address_is_known_by_its_protocol_and_read_again(path, protocol, text):
    assert stores.protocol(path) == protocol
    assert stores.is_in_store(path) == bool(protocol)
    found = stores.place(path)
    assert isinstance(found, Path) == (not protocol)
    assert stores.place(found) is found or not protocol
    if text is None:
        assert found == Path(path)
    else:
        assert stores.folder_text(found) == text
        assert stores.folder_text(stores.place(text)) == text


def test_a_folder_on_this_machine_is_told_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert stores.folder_text(stores.place("runs")) == str(tmp_path / "runs")


@pytest.fixture(params=["here", "memory", "s3"])
def folder(request, tmp_path):
    if request.param == "here":
        return tmp_path
    request.getfixturevalue(request.param)
    return stores.place({"memory": "memory://x", "s3": "s3://bucket/x"}[request.param])


def test_files_are_written_read_and_moved_with_their_folders(folder):
    file = folder / "a/deep/er.bin"
    stores.make_folder(file.parent)
    assert not stores.is_there(file)
    stores.write(file, b"\x00one")
    stores.write(file, b"\x00two")
    stores.write(folder / "a/b.bin", b"b")
    assert stores.is_there(file)
    assert stores.is_there(folder / "a")
    assert stores.read(file) == b"\x00two"
    stores.move(folder / "a", folder / "moved")
    assert not stores.is_there(folder / "a")
    assert stores.read(folder / "moved/deep/er.bin") == b"\x00two"
    stores.move(folder / "moved/b.bin", folder / "b.bin")
    assert not stores.is_there(folder / "moved/b.bin")
    assert stores.read(folder / "b.bin") == b"b"
    with pytest.raises(FileNotFoundError):
        stores.read(folder / "none")


def test_a_file_under_a_file_is_not_there(tmp_path):
    (tmp_path / "a").touch()
    assert not stores.is_there(tmp_path / "a/b")


def test_what_others_write_to_a_store_is_seen_after_a_listing(s3):
    import boto3

    folder = stores.place("s3://bucket/x")
    stores.write(folder / "a", b"a")
    assert [path.name for path in folder.iterdir()] == ["a"]
    boto3.client("s3").put_object(Bucket="bucket", Key="x/b", Body=b"b")
    assert stores.is_there(folder / "b")


def test_a_store_that_is_away_is_not_one_without_the_file(s3):
    folder = stores.place("s3://bucket/x")
    s3.stop()
    for ask in (stores.is_there, stores.read, lambda path: stores.write(path, b"")):
        with pytest.raises(AwayError, match=r"'s3://bucket/x/a': \w+: Could not connect"):
            ask(folder / "a")


def test_faults_that_are_no_stores_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), stores.as_away(tmp_path):
        1 / 0  # noqa: B018
