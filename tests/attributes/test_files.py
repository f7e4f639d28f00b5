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


@pytest.mark.parametrize(
    "text",
    [
        "id,k\n5,x\n3,y\n1,x\n",
        "id,k\n5.0,x\n3.0,y\n1.0,x\n",
        "id,k\n 5,x\n3 ,y\n1,x\n",
        "\ufeffid,k\r\n5,x\r\n3,y\r\n1,x\r\n",
        "id,k\n\n5,x\n,\n3,y\n1,x\n,\n , \n\n",
        "id,k\n5,x\n3,y\n1,x\n,,,,\n",
        "id,k,\n5,x,\n3,y,\n1,x,\n",
        "id,k\n5,x,\n3,y,\n1,x,\n",
        ",k\n5,x\n3,y\n1,x\n",
        '"id"\t"k"\n"5"\t"x"\n"3"\t"y"\n"1"\t"x"\n',
    ],
    ids=["plain", "floats", "blanks", "windows", "empty", "sheet", "end", "ends", "index", "R"],
)
def test_row_ids_are_read_however_they_were_written(tmp_path, text):
    name = "t.tsv" if "\t" in text else "t.csv"
    table = AttributeTable.from_file(written(tmp_path, text, name))
    (value,) = {table.values[0][table.codes[row, 0]] for row in (1, 5)}
    assert (value, table.values[0][table.codes[3, 0]]) == ("x", "y")
    assert (table.codes[:, 0] >= 0).tolist() == [False, True, False, True, False, True]


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("Total", "'Total' is no row id"),
        ("O", "'O' is no row id"),
        ("-1", "'-1' is no row id"),
        ("5.5", "'5.5' is no row id"),
        ('"1,000"', "'1,000' is no row id"),
        ("3.0", "row 3 is there already, in line 4"),
        ("", "'' is no row id"),
    ],
)
def test_an_odd_row_id_is_named_with_its_line(tmp_path, odd, told):
    text = f'id,k\n5,"x\nx"\n3,y\n\n1,x\n{odd},y\n'
    with pytest.raises(ValueError, match=f"table.csv, line 7, column 'id': {told}"):
        AttributeTable.from_file(written(tmp_path, text))


def test_numbers_that_are_no_row_ids_are_not_taken_for_labels(tmp_path):
    with pytest.raises(ValueError, match=r"line 2, column 'size': '0.37' is no row id"):
        AttributeTable.from_file(written(tmp_path, "size,k\n0.37,x\n0.74,y\n"))


@pytest.mark.parametrize(
    "text",
    [
        "0,red\n1,red\n2,blue\n",
        "sky,blue\nblood,red\nsea,blue\ncherry,red\n",
        "sky,0.5\nblood,0.25\nsea,0.5\n",
    ],
)
def test_a_file_without_a_header_is_told(tmp_path, text):
    with pytest.raises(ValueError, match=r"line 1: looks like the lines below it \('"):
        AttributeTable.from_file(written(tmp_path, text))


@pytest.mark.parametrize("header", ["word,plural", ",0"])
def test_a_header_that_has_a_name_is_one(tmp_path, header):
    table = AttributeTable.from_file(written(tmp_path, f"{header}\ndog,7\ncats,plural\nox,7\n"))
    assert table.codes[:, 0].tolist() == [0, 1, 0]


def test_labels_are_labels_though_some_are_numbers(tmp_path):
    text = "token,k\n7,x\ndog,y\n , \n8,x\n+,y\n,\n"
    table = AttributeTable.from_file(written(tmp_path, text))
    assert table.codes[:, 0].tolist() == [0, 1, -1, 0, 1]


def test_an_empty_line_among_labels_is_refused_as_it_may_be_a_row(tmp_path):
    with pytest.raises(ValueError, match="line 3: is empty, and rows with labels are counted"):
        AttributeTable.from_file(written(tmp_path, "w,k\nsky,x\n,\nsea,y\n"))


def test_an_index_beside_a_column_of_ids_is_refused(tmp_path):
    path = written(tmp_path, ",id,k\n0,5,x\n1,3,y\n2,9,x\n")
    with pytest.raises(ValueError, match=r"differs from 'id'.*index=False"):
        AttributeTable.from_file(path)


def test_row_names_that_count_from_1_are_told(tmp_path):
    path = written(tmp_path, '"","k"\n"1","x"\n"2","y"\n"3","x"\n')
    with pytest.warns(UserWarning, match=r"^AttributeTable: .*counts the lines from 1 on, as R"):
        table = AttributeTable.from_file(path)
    assert table.codes[:, 0].tolist() == [-1, 0, 1, 0]
