import pytest

from lightning_semgeom import AttributeTable


def written(tmp_path, text, name="table.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_text(text, encoding=encoding)
    return path


def test_labels_in_line_order_are_the_rows(tmp_path):
    path = written(
        tmp_path, "word,colour,kind\nsky,blue,\nblood,red,liquid\nmilk, ,liquid\nice,,solid\n"
    )
    table = AttributeTable.from_file(path)
    assert table.names == ("colour", "kind")
    assert table.codes.tolist() == [[0, -1], [1, 0], [-1, 0], [-1, 1]]


def test_labels_may_differ_by_a_leading_space(tmp_path):
    table = AttributeTable.from_file(written(tmp_path, "word,k\ndog,x\n dog,y\n"))
    assert table.codes[:, 0].tolist() == [0, 1]


def test_whole_numbers_are_row_ids_in_any_order(tmp_path):
    table = AttributeTable.from_file(
        str(written(tmp_path, "id\tcolour\n5\tred\n0\tblue\n2\tred\n", "t.tsv"))
    )
    assert len(table) == 6
    assert table.codes[:, 0].tolist() == [0, -1, 1, -1, -1, 1]


@pytest.mark.parametrize("name", ["t.txt", "t.tab"])
def test_tabs_are_seen_in_files_of_another_name(tmp_path, name):
    table = AttributeTable.from_file(written(tmp_path, "id\tcolour\n0\tred\n1\tdark, blue\n", name))
    assert table.values == (("red", "dark, blue"),)


def test_quotes_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    text = '\ufeffid,colour\r\n0,"red, dark"\r\n\r\n1,"two\nlines"\r\n'
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert AttributeTable.from_file(path).values == (("red, dark", "two\nlines"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("id,a\n", "there is no line after the header"),
        ("id\n0\n", "line 1: only 1 column"),
        ("id,a,\n0,x,y\n", "line 1, column 3: the attribute has no name"),
        ("id,a,a\n0,x,y\n", "line 1, column 3: 'a' is there twice"),
        ("id,a\n0,x\n1\n", "line 3: 1 columns, but the header has 2"),
        ("id,a\n0,x\n1,y,z\n", "line 3: 3 columns, but the header has 2"),
        ("id,a\n0,x\n1,y\n0,y\n", "line 4, column 'id': row 0 is there already, in line 2"),
        ("id,a\n1,x\n01,y\n", "line 3, column 'id': row 1 is there already, in line 2"),
        ("w,a\nsky,x\nsky,y\n", "line 3, column 'w': 'sky' is there already, in line 2"),
        ("id,a\n0,x\n99999999999,y\n", "line 3, column 'id': 99999999999 is too large"),
        ("id,a,b\n0,x,\n1,y,\n", "column 'b': labels no row at all"),
        ("id,a,b\n0,x,u\n1,y,u\n", "column 'b': has a single value, 'u'"),
        ('id,a\n0,"x\n1,y\n', "in the entry that begins in line 2: unexpected end of data"),
    ],
)
def test_a_bad_file_is_refused_with_file_line_and_column(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=message) as caught:
        AttributeTable.from_file(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = written(tmp_path, "id,a\n0,gr\u00fcn\n1,x\n", encoding="latin-1")
    with pytest.raises(ValueError, match="not a UTF-8 text file"):
        AttributeTable.from_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no attribute file at '.*nowhere.csv'"):
        AttributeTable.from_file(tmp_path / "nowhere.csv")
