"""How a page is read: a page that lies must be found out."""

from pathlib import Path

import pytest

from tests.docs.blocks import commands, missing, read
from tests.docs.running import Reader

PAGE = """\
# A page

```yaml file=a/b.yaml
x: 1
```
```console
$ python -c 'print("one  two"); print("three")'
one two
three
$ cd a
```

```python
print(open("b.yaml").read())
```
```text
x: 1
```
"""


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


def test_blocks_know_their_file_their_commands_and_their_output(tmp_path: Path) -> None:
    file, console, python = read(write(tmp_path, PAGE))
    assert (file.file, file.text) == ("a/b.yaml", "x: 1\n")
    assert [(c.text, list(c.output)) for c in commands(console)][1] == ("cd a", [])
    assert python.output == "x: 1\n"


def test_a_page_that_is_right_is_followed_to_its_end(tmp_path: Path) -> None:
    Reader(tmp_path).follow(write(tmp_path, PAGE))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nthree", "\nfour"),  # not printed
        ("one two\nthree", "three\none two"),  # in another order
        ("```text\nx: 1", "```text\nx: 2"),
        ('open("b.yaml")', 'open("c.yaml")'),
        ("python -c 'print", "python -c 'import nothing; print"),
    ],
)
def test_a_page_that_lies_is_found_out(old: str, new: str, tmp_path: Path) -> None:
    assert old in PAGE
    with pytest.raises(AssertionError):
        Reader(tmp_path).follow(write(tmp_path, PAGE.replace(old, new)))


def test_dots_stand_for_anything_in_one_line() -> None:
    assert missing(["trial 1 … degC", "end"], "trial 1  started at 40   degC\nthe end") is None
    assert missing(["a … b"], "a b") is None
    assert missing(["a … b"], "a\nb") == "a … b"
