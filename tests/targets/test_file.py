"""Files of one's own: what is read, and every way a file can be wrong."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddm_pyro.spaces import StateSpace
from ddm_pyro.targets import File, ReadingWarning
from ddm_pyro.targets.columns import MISSING, Column

PETS = "animal,age,home\ncat,9,yes\ndog,10,no\ncat,9.0,yes\nbird,2,yes\n"


@pytest.fixture
def write(tmp_path: Path):
    def _write(content: Any, name: str = "data.csv") -> Path:
        path = tmp_path / name
        if isinstance(content, np.ndarray):
            np.save(path, content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def cells(data: File) -> Counter[tuple[str, ...]]:
    return Counter(tuple(row) for row in data.decode(torch.cat([data.train, data.test])))


def test_a_table_has_an_alphabet_a_column(write):
    data = File(write(PETS))
    assert [(one.name, one.kind, one.labels) for one in data.columns] == [
        ("animal", "categories", ("bird", "cat", "dog")),
        ("age", "numbers", ("2", "9", "10")),  # by size, not by spelling; 9 and 9.0 are one
        ("home", "categories", ("no", "yes")),
    ]
    assert data.space == StateSpace((3, 3, 2), 3)
    assert data.header is True
    assert (len(data.train), len(data.test)) == (3, 1)
    assert cells(data) == Counter({("cat", "9", "yes"): 2, ("dog", "10", "no"): 1, ("bird", "2", "yes"): 1})


def test_what_a_spreadsheet_writes_is_read(write):
    text = '\ufeff"name";"note"\r\n"a; b";"said ""no"""\r\n\r\n c ;"two\nlines"\r\n'
    data = File(write(text), delimiter=";", header=True, test_fraction=0)
    assert sorted(data.decode(data.train)) == [["a; b", 'said "no"'], ["c", "two\nlines"]]
    tabs = File(write("a\tb,c\n1\t2\n", "data.tsv"), test_fraction=0)
    assert [one.name for one in tabs.columns] == ["a", "b,c"]
    latin = File(write("k\ncaf\u00e9\n".encode("latin-1")), encoding="latin-1", header=True, test_fraction=0)
    assert latin.columns[0].labels == ("caf\u00e9",)


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("age,income\n1,2\n3,4\n", True),  # names over numbers
        ("age,sex\n1,m\n,f\n", True),
        ("sex,job\nm,a\nf,b\n", True),  # occur nowhere below
        ("m,a\nf,b\nm,c\n", False),  # m occurs again
        ("2001,2002\n1,2\n", False),  # numbers
        ("x,1\ny,2\n", False),
        ("a,a\nb,c\n", False),  # not different
        (",a\nb,c\n", False),  # one missing
        (",a\n0,c\n1,d\n", False),  # an index without a name, and nothing else to tell a header by
        (",a\n0,5\n1,6\n", True),
        ("a,b\n", False),
    ],
)
@pytest.mark.filterwarnings("ignore::ddm_pyro.targets.ReadingWarning")  # a header among the rows is told
def test_headers_are_found_by_the_documented_rule(write, text, header):
    path = write(text)
    assert File(path, missing="category", test_fraction=0).header is header
    rows = text.count("\n")
    assert len(File(path, missing="category", test_fraction=0, header=False).train) == rows


def test_a_header_can_be_said(write):
    path = write("m,a\nf,b\nm,c\n")
    assert [one.name for one in File(path, header=True).columns] == ["m", "a"]
    assert [one.name for one in File(path).columns] == ["column 1", "column 2"]


def test_missing_values_are_refused_made_a_symbol_or_dropped(write):
    text = "a,b\n1,x\n2,?\nNA,\n3,y\n1,y\n"
    path = write(text)
    with pytest.raises(ValueError, match=r"line 3 has '\?' in column 'b', the first of 3 missing.*missing='category'"):
        File(path)
    symbol = File(path, missing="category", test_fraction=0)
    assert [one.labels for one in symbol.columns] == [("1", "2", "3", ""), ("x", "y", "")]
    assert cells(symbol)[("", "")] == 2  # one row, in both splits
    dropped = File(path, missing="drop", test_fraction=0)
    assert dropped.dropped == 2
    assert "2 rows with missing values dropped" in repr(dropped)
    assert [one.labels for one in dropped.columns] == [("1", "3"), ("x", "y")]
    with pytest.raises(ValueError, match="line 2 has an empty cell in column 'a', the only missing value"):
        File(write("a,b\n,2\n"))
    with pytest.raises(ValueError, match="a missing value in every row"):
        File(write("a,b\n,2\n"), missing="drop")
    everything = "".join(f"{cell},k\n" for cell in sorted(MISSING))
    assert File(write(everything), header=False, missing="category").columns[0].labels == ("",)


def test_empty_lines_are_missing_values_of_a_single_column_only(write):
    assert len(File(write("a,b\n\n1,2\n\n\n3,4\n\n")).train) == 1
    single = File(write("a\n1\n\n2\n\n\n"), missing="category", test_fraction=0)
    assert single.decode(single.encode([["1"], [None], [2]])) == [["1"], [""], ["2"]]
    assert len(single.train) == 3


def test_new_data(write):
    data = File(write("a,b\n1,x\n2,\n3,y\n"), missing="category")
    rows = [["1.0", "y"], [3, None]]
    assert data.encode(rows).tolist() == [[0, 1], [2, 2]]
    assert data.encode([]).shape == (0, 2)
    with pytest.raises(ValueError, match=r"Row 1 has 'z' in column 'b', which the file never has.*unseen='missing'"):
        data.encode([[1, "x"], [1, "z"]])
    assert data.encode([[1, "z"]], unseen="missing").tolist() == [[0, 2]]
    with pytest.raises(ValueError, match=r"Row 0 has '4' in column 'a'.*no symbol for missing"):
        data.encode([[4, "x"]], unseen="missing")
    with pytest.raises(ValueError, match="Row 0 has a missing value in column 'a'"):
        data.encode([["NA", "x"]])
    with pytest.raises(ValueError, match="must have 2 cells"):
        data.encode([["1"]])
    with pytest.raises(ValueError, match="must have 2 cells"):
        data.encode(["1x"])
    with pytest.raises(ValueError, match="unseen='ignore'"):
        data.encode(rows, unseen="ignore")
    assert data.decode(torch.tensor([[0, 3]])) == [["1", "[mask]"]]
    with pytest.raises(ValueError, match="decode got shape"):
        data.decode(torch.tensor([0]))


def test_bins_hold_equally_many_rows(write):
    ages = [str(k * k) for k in range(100)]
    path = write("age,sex\n" + "".join(f"{age},{'mf'[k % 2]}\n" for k, age in enumerate(ages)))
    data = File(path, bins=4, test_fraction=0)
    assert data.columns[0].labels == ("[0, 625)", "[625, 2500)", "[2500, 5625)", "[5625, 9801]")
    assert data.train[:, 0].bincount().tolist() == [25] * 4
    assert data.columns[1].labels == ("f", "m")
    assert data.encode([[624.9, "m"], [625, "m"], [9801, "m"]])[:, 0].tolist() == [0, 1, 3]
    with pytest.raises(ValueError, match="'9802' in column 'age'"):
        data.encode([[9802, "m"]])
    assert File(path, bins={"age": 2}).space.sizes == 2
    with pytest.raises(ValueError, match="bins names 'sex', which holds categories such as 'f'"):
        File(path, bins={"sex": 2})
    with pytest.raises(ValueError, match="bins names 'agee'"):
        File(path, bins={"agee": 2})
    with pytest.raises(ValueError, match="bins=0"):
        File(path, bins=0)


@pytest.mark.parametrize("bins", [1, 2, 3, 5])
def test_every_bin_of_a_lumpy_column_has_a_row(bins):
    values = ["1"] * 50 + ["2", "3", "4"] + ["7"] * 60 + ["5", "6", ""]
    column = Column.of("x", values, missing=True, bins=bins)
    tokens = [column.token(value) for value in values]
    assert set(tokens) == set(range(column.size))
    assert column.size <= bins + 1
    numbers = [token for _, token in sorted(zip(values, tokens, strict=True)) if _]
    assert numbers == sorted(numbers)


def test_numbers_are_compared_exactly():
    column = Column.of("id", ["9007199254740993", "9007199254740992", "0.10", "1e-1"])
    assert column.labels == ("0.10", "9007199254740992", "9007199254740993")
    assert Column.of("mixed", ["2", "10", "x"]).labels == ("10", "2", "x")


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ("", {}, "is empty"),
        ("\n\n", {}, "is empty"),
        ("a,b\n", {"header": True}, "a header and no rows"),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 cells and line 1 has 2"),
        ('a,b\n"x\ny",2\n1,2,3\n', {}, "line 4 has 3 cells"),
        ("a,b,a\n1,2,3\n", {}, "columns 1 and 3 are both named 'a'"),
        ('a,b\n1,"2\n', {}, "not closed"),
        ('a,b\n1,"2"x\n', {}, "line 2 cannot be read"),
        ("a;b\n1;2\n", {}, "give delimiter=';'"),
        (b"a,b\n1,caf\xe9\n", {}, "byte 0xe9 in line 2.*latin-1"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "no utf-8 text"),
        (b"a,b\n1,\0\n", {}, "zero byte in line 2"),
        ("a,b\n1,2\n", {"encoding": "utf-88"}, "encoding='utf-88'"),
        ("a,b\n1,2\n", {"header": "yes"}, "header='yes'"),
        ("a,b\n1,2\n", {"missing": "mean"}, "missing='mean'"),
        ("a,b\n1,2\n", {"delimiter": "::"}, "delimiter='::'"),
        ("a,b\n1,2\n", {"columns": ["c"]}, "columns names 'c'; the file has 'a', 'b'"),
        ("a,b\n1,2\n", {"columns": []}, "at least one column"),
        ("a,b\n1,2\n", {"columns": "ab"}, "must be a list"),
        ("a,b\n1,2\n", {"columns": ["a", 0]}, "none twice"),
        ("a,b\n1,2\n", {"window": 3}, "window is for a text"),
        ("a,b\n1,2\n", {"format": "excel"}, "format='excel'"),
        ("a,b\n1,2\n", {}, "one row, and none can be held out"),
        ("a,b\n1,2\n3,4\n", {"split": "validation"}, "split='validation'"),
        ("a,b\n1,2\n3,4\n", {"test_fraction": 1}, "test_fraction=1"),
        ("i\n" + "".join(f"{k}\n" for k in range(257)), {}, r"column 'i' has 257 different numbers.*bins=16"),
        ("i\n" + "".join(f"n{k}\n" for k in range(257)), {}, r"column 'i' has 257 different categories.*columns="),
        ("i\n" + "".join(f"{k}\n" for k in range(9)), {"max_levels": 8}, "max_levels=8"),
        ("a" * 200_000 + ",b\n", {}, "field larger than field limit"),
    ],
)
def test_a_broken_table_is_one_sentence(write, content, settings, words):
    with pytest.raises(ValueError, match=words) as refused:
        File(write(content), **settings)
    assert "\n" not in str(refused.value)


def test_columns_can_be_left_out(write):
    data = File(write("id,b,c\n" + "".join(f"{k},{k % 3},u\n" for k in range(300))), columns=["c", 1])
    assert [(one.name, one.size) for one in data.columns] == [("c", 1), ("b", 3)]


def test_the_split_is_fixed_and_loses_no_row(write):
    path = write("a,b\n" + "".join(f"{k % 7},{k % 5}\n" for k in range(100)))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    data = File(path, test_fraction=0.3)
    assert torch.equal(torch.get_rng_state(), state)
    assert (len(data.train), len(data.test)) == (70, 30)
    assert torch.equal(File(path, test_fraction=0.3, split="test").rows, data.test)
    with path.open() as stream:
        assert cells(data) == Counter(map(tuple, list(csv.reader(stream))[1:]))
    assert len(data.test.unique(dim=0)) > 15  # mixed, not the file's last rows in order


def test_files_of_tokens(write):
    array = np.array([[0, 4], [1, 1], [2, 0]], dtype=np.uint8)
    data = File(write(array, "rows.npy"), test_fraction=0)
    assert data.space == StateSpace(5, 2)
    assert sorted(data.train.tolist()) == sorted(array.tolist())
    assert data.decode(data.encode([[4, 4]])) == [[4, 4]]
    assert data.columns == ()
    with pytest.raises(ValueError, match="5"):
        data.encode([[5, 0]])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (np.zeros((2, 2)), "float64.*whole numbers from 0 on"),
        (np.zeros(3, dtype=int), "shape"),
        (np.zeros((0, 3), dtype=int), "shape"),
        (np.array([[-1, 0]]), "number -1.*whole numbers from 0 on"),
        (np.array([[2**63]], dtype=np.uint64), "below 1048576"),
        (np.array([[None]]), "cannot be read as a .npy"),
        (b"", "cannot be read as a .npy"),
        (b"text", "cannot be read as a .npy"),
    ],
)
def test_files_that_hold_no_tokens(write, content, words):
    with pytest.raises(ValueError, match=words):
        File(write(content, "rows.npy"))


def test_texts(write):
    path = write("abcab\r\ncabca", "song.txt")
    data = File(path, window=3, test_fraction=0.4)
    assert data.decode(data.train) == ["abc", "ab\n"]
    assert data.decode(data.test) == ["cab"]
    assert data.space == StateSpace(4, 3)
    assert data.encode("cabb").tolist() == [[3, 1, 2]]
    assert data.encode(["cab", "bbb"]).shape == (2, 3)
    assert File(path, window=3, alphabet="\ncbax").encode("abc").tolist() == [[3, 2, 1]]
    assert File(write("ab\nab\n", "poem.md"), format="text", window=2).space.length == 2
    for settings, words in [
        ({"alphabet": "abc", "window": 3}, r"Character '\\n' in line 1 is not in the alphabet 'abc'"),
        ({"alphabet": "aab"}, "none twice"),
        ({"window": 40}, "window=40 is longer"),
        ({"window": 2, "max_levels": 3}, "4 different characters"),
        ({"missing": "drop"}, "missing is for a table"),
        ({"window": 0}, "window=0"),
    ]:
        with pytest.raises(ValueError, match=words):
            File(path, **settings)
    with pytest.raises(ValueError, match="is empty"):
        File(write("", "empty.txt"))
    with pytest.raises(ValueError, match="Row 0 is 'ab', of 2 characters"):
        data.encode(["ab"])


def test_files_that_are_not_there(tmp_path, write):
    for name in ("absent.csv", "absent.npy", "absent.txt"):
        with pytest.raises(ValueError, match=f"{name}' cannot be read: No such file"):
            File(tmp_path / name)
    with pytest.raises(ValueError, match=r"none of the suffixes \.npy, \.csv"):
        File(write("x", "data.xlsx"))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        File(tmp_path / "folder.csv")


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ("1 2 abc 2", "numbers and others, such as 'abc'"),
        ("1 inf 2 2", "'inf', no finite number"),
        ("'1,5' '2,5' '1,5' '2,5'", "'1,5', no finite number"),
        ("50% 20% 50% 20%", "'20%', no finite number"),
        ("a b None a", "'None', a category; if it stands for a missing value"),
        ("a b n/a a", "'n/a', a category"),
        ("a - b a", "'-', a category"),
    ],
)
def test_cells_that_may_have_been_meant_otherwise_are_told(write, cells, says):
    path = write("x\n" + "".join(cell.replace("'", '"') + "\n" for cell in cells.split()))
    with pytest.warns(ReadingWarning, match=r"data.csv': column 'x' holds") as told:
        data = File(path, header=True, test_fraction=0)
    assert says in data.remarks[0]
    assert data.remarks[0] in str(told[0].message)
    assert data.columns[0].kind == "categories"


@pytest.mark.parametrize(
    "text",
    [
        "x\n1\n2.5\n-3e2\n\n4\n",
        "x\na\nb\na1\nb2\n",
        "x\n2024-01-01\n2024-01-02\n",
        "x\n12 a\n13 b\n1\n",
        "x\na\nb\n50%\nc\n",
    ],
)
def test_other_columns_are_read_without_a_word(write, text):
    data = File(write(text), header=True, missing="category", test_fraction=0)
    assert data.remarks == ()


def test_a_file_tells_how_it_was_read(write):
    told = File(write("sex,age\nf,3\nm,\nf,4\nm,3\n"), missing="category", test_fraction=0.25).reading
    assert told == (
        "4 rows, 1 of them held out; the first line is a header; sex: 2 categories, age: 2 numbers and missing"
    )
    told = File(write("1,2\n1,?\n1,3\n"), missing="drop", test_fraction=0).reading
    assert told == (
        "2 rows, none held out; 1 row with missing values left out; no header; column 1: 1 number, column 2: 2 numbers"
    )
    text = File(write("abcabcabc", "a.txt"), window=2, test_fraction=0.5).reading
    assert text == "4 rows, 2 of them held out; sequences of 2 over 3 symbols; 1 character at the end left out"
    # Line ends count as one character each, and a text that fills its windows loses nothing.
    text = File(write(b"abc\r\nabc\r\n", "b.txt"), window=4, test_fraction=0.5)
    assert (text.left_over, text.reading) == (0, "2 rows, 1 of them held out; sequences of 4 over 4 symbols")


def test_remedies_fit_what_is_wrong(write):
    with pytest.raises(ValueError, match="delimiter=';', which stands equally often in every line"):
        File(write("x;y\n1,5;2\n2,5;1\n"))
    with pytest.raises(ValueError, match="encoding='utf-16'"):
        File(write("x,y\n1,2\n2,1\n".encode("utf-16")))
    assert len(File(write("x,y\n1,2\n2,1\n".encode("utf-16")), encoding="utf-16").train) == 1
    with pytest.raises(ValueError, match="If its only line is a header, there are no rows"):
        File(write("a,b\n"))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"bins": "x"}, "bins='x' must be a whole number of at least 1"),
        ({"bins": 2.5}, "bins=2.5 must be a whole number"),
        ({"columns": 3}, r"columns=3 must be a list, such as \[3\]"),
        ({"test_fraction": "half"}, "test_fraction='half' must be at least 0"),
        ({"test_fraction": None}, "test_fraction=None must be"),
        ({"max_levels": []}, r"max_levels=\[\] must be a whole number"),
    ],
)
def test_settings_of_the_wrong_type_are_one_sentence(write, settings, says):
    with pytest.raises(ValueError, match=says):
        File(write(PETS), **settings)
