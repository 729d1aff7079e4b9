"""Custom datasets in a CSV file."""

import os

import pytest

from benchmark.data.custom.dataset import load_custom
from tests.data.custom.conftest import problems_of

HEADER = "path,label,class_name,split"


@pytest.fixture
def table(tree):
    """table(text): a CSV file next to the images of a valid dataset."""

    def make(text):
        path = tree("a/0.png", "a/1.png", "b/0.png", "b/1.png") / "list.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_columns_of_a_csv_come_in_any_order_from_any_system(table):
    text = """\ufeffsplit,path,class_name,label
train,a\\0.png,cat,0
train,b/0.png,"dog, hot",1

test,a/1.png,cat,0
test,b/1.png,"dog, hot",1
"""
    dataset = load_custom("pets", table(text.replace("\n", "\r\n")), check_files=True)
    assert dataset.class_names == ("cat", "dog, hot")
    assert dataset.train[0].path.endswith("/a/0.png")


def test_all_problems_of_a_csv_come_with_their_lines(table):
    text = """path,label,class_name,split
a/0.png,0,cat,train
b/0.png,1,dog,train
a/1.png,0,cat,test
b/1.png,1,dog,test
a/2.png,0,cat
a/2.png,0,hot, dog,test
a/2.png,zero,cat,test
a/2.png,0,,Test
../a/2.png,0,cat,test
/etc/a.png,-1,cat,test
"b/2.png",0,"two
lines",test
a/0.png,0,cat,test
a/3.png,4,cow,train
"""
    message = problems_of(table(text))
    for part in (
        "line 6: 3 values, not 4",
        "line 7: 5 values, not 4; put a value with a comma in double quotes",
        "line 8: the label is 'zero', not a whole number from 0",
        "line 9: the class_name is empty; the split is 'Test', not train, val or test; write test",
        "line 10: the path '../a/2.png' leaves the image folder; set 'images' in the YAML for another folder",
        "line 11: the label is '-1', not a whole number from 0; the path '/etc/a.png' leaves the image folder",
        "line 12: label 0 is called 'two\\nlines', and 'cat' elsewhere",
        "line 14: 'a/0.png' is listed in train already",
        "labels must run from 0 without gaps; missing: 2, 3",
        "class 4 ('cow') has no image in test",
        "'a/3.png' is missing",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the first line is ''; it must name the columns path,label,class_name,split"),
        (b"path;label;class_name;split\n", "with commas between them"),
        (HEADER.encode() + b"\n", "the list 'test' is empty"),
        (HEADER.encode() + b'\na/0.png,0,"cat,train\n', "line 2: is not valid CSV"),
        (HEADER.encode() + b"\na/0.png,0,caf\xe9,train\n", "is not UTF-8 text (byte 41). Save it as UTF-8."),
    ],
)
def test_invalid_csv_is_refused(table, content, message):
    assert message in problems_of(table(content))


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda row: row.replace("a/", f"{os.getcwd()}/a/"), "write it relative to that folder"),
        (lambda row: row.replace(",0,", ",1,").replace(",1,dog", ",2,dog"), "missing: 0; subtract 1 from each"),
        (lambda row: row.replace("cat", "_"), "the class name '_' is blank in a prompt; give label 0 a name"),
    ],
)
def test_advice_on_a_list_of_another_convention(table, change, advice):
    rows = ["a/0.png,0,cat,train", "b/0.png,1,dog,train", "a/1.png,0,cat,test", "b/1.png,1,dog,test"]
    assert len(load_custom("pets", table("\n".join([HEADER, *rows])), check_files=True).test) == 2
    message = problems_of(table("\n".join([HEADER, *map(change, rows)])))
    assert advice in message and "set 'images'" not in message
