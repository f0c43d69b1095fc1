"""The Chinese pages have the code, links and tables of the English ones, whose commands are run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAIRS = [
    (english, chinese)
    for chinese in [ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.zh.md"))]
    if (english := chinese.with_name(chinese.name.replace(".zh.md", ".md"))).exists()
]
README = PAIRS[0]
EVERY_PAIR = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].name)
BLOCK = re.compile(r"(?ms)^ *```([^\n]*)\n(.*?)^ *```")


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """The language and the lines of each block of code, without comments."""
    found = BLOCK.findall(page.read_text(encoding="utf-8").replace(".zh.md", ".md"))
    return [
        (language, [re.sub(r"\s+# .*", "", line) for line in code.splitlines()])
        for language, code in found
    ]


def links(page: Path) -> list[str]:
    """The targets of all links outside of code."""
    return re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text(encoding="utf-8")))


def rows(page: Path) -> list[list[str]]:
    """The sorted inline code of each row of the tables."""
    lines = re.findall(r"(?m)^ *\|.*\|$", page.read_text(encoding="utf-8"))
    return [sorted(re.findall("`([^`]+)`", line)) for line in lines]


@EVERY_PAIR
def test_a_chinese_page_has_the_code_of_the_english_one(pair: tuple[Path, Path]) -> None:
    english, chinese = map(blocks, pair)
    extra = [block for block in chinese if block not in english]
    assert [block for block in chinese if block in english] == english
    assert len(extra) == (1 if pair[1].name == "install.zh.md" else 0)  # a mirror of torch


@EVERY_PAIR
def test_a_chinese_page_has_the_rows_of_the_english_tables(pair: tuple[Path, Path]) -> None:
    english, chinese = pair
    assert rows(chinese) == rows(english)


def test_the_chinese_readme_has_the_links_of_the_english_one() -> None:
    english, chinese = (links(page)[1:] for page in README)
    assert [link.replace(".zh.md", ".md") for link in chinese] == english


@EVERY_PAIR
def test_a_page_begins_with_a_link_to_the_other_language(pair: tuple[Path, Path]) -> None:
    english, chinese = pair
    assert links(english)[0] == chinese.name
    assert links(chinese)[0] == english.name


@EVERY_PAIR
def test_a_chinese_page_links_to_chinese_pages_where_they_exist(pair: tuple[Path, Path]) -> None:
    page = pair[1]
    local = [link.partition("#")[0] for link in links(page)[1:] if "://" not in link]
    translated = [link for link in local if (page.parent / link).with_suffix(".zh.md").exists()]
    assert [link for link in translated if not link.endswith(".zh.md")] == []


def test_the_english_readme_is_short() -> None:
    lines = README[0].read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 100
