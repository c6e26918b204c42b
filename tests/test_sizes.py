"""The sizes of programs: counted as `size` does, compared with those before, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doit_tflm.elf import Image, Segment, read_image
from doit_tflm.errors import UserError
from doit_tflm.sizes import Row, Sizes, compare, from_json, measure, render, to_json
from linked import COMPILERS, SYMBOL, array, link, tool

SMALL, LARGE = Sizes(1000, 8, 16, 400, 2048), Sizes(1234567, 0, 16, 400, 2048)
A_SIZE = st.builds(Sizes, *[st.integers(0, 2**31)] * 5)


@pytest.mark.parametrize("compiler", list(COMPILERS))
def test_sizes_are_those_that_the_tool_prints(compiler: str, tmp_path: Path) -> None:
    more = array() + "int counted[100]; int started[10] = {1}; int *kept(void) { return counted + started[0]; }\n"
    program = link(tmp_path, compiler, more)
    sizes = measure(read_image(program.read_bytes()), "app", {SYMBOL: 2048})
    printed = tool(compiler.replace("gcc", "size") if "-" in compiler else "size", program).splitlines()[1].split()
    assert [sizes.text, sizes.data, sizes.bss] == [int(number) for number in printed[:3]]
    assert (sizes.model, sizes.arena) == (400, 2048)


def test_a_model_that_a_program_does_not_hold_does_not_count(tmp_path: Path) -> None:
    program = link(tmp_path, "gcc", array())
    sizes = measure(read_image(program.read_bytes()), "app", {SYMBOL: 2048, "g_other": 4096})
    assert (sizes.model, sizes.arena) == (400, 2048)


def test_a_program_without_section_headers_is_an_error() -> None:
    image = Image((Segment(0, b"x", is_writable=False),), (), {})
    with pytest.raises(UserError, match="app: has no section headers"):
        measure(image, "app", {})


def test_there_is_a_row_for_every_program_that_is_or_was() -> None:
    rows = compare("host", {"new": SMALL, "both": LARGE}, {"both": SMALL, "old": SMALL})
    assert rows == [
        Row("host", "both", LARGE, SMALL),
        Row("host", "new", SMALL, None),
        Row("host", "old", None, SMALL),
    ]


@given(st.dictionaries(st.text(max_size=5), A_SIZE, max_size=3))
def test_what_is_stored_is_read_back(sizes: dict[str, Sizes]) -> None:
    assert from_json(json.loads(json.dumps(to_json(sizes)))) == sizes


def test_equal_sizes_are_stored_as_equal_bytes_in_whatever_order_they_come() -> None:
    one, other = {"a": SMALL, "b": LARGE}, {"b": LARGE, "a": SMALL}
    assert json.dumps(to_json(one)) == json.dumps(to_json(other))


def test_the_table_shows_each_number_and_what_changed() -> None:
    text = render(
        [
            Row("host", "app", LARGE, SMALL),
            Row("host", "new", SMALL, None),
            Row("cortex-m3", "app", SMALL, SMALL),
            Row("cortex-m3", "old", None, SMALL),
        ]
    )
    head, *rows = (line.split() for line in text.splitlines())
    assert head == ["bytes", "text", "data", "bss", "model", "arena"]
    assert rows == [
        ["host", "app", "1,234,567", "(+1,233,567)", "0", "(-8)", "16", "400", "2,048"],
        ["new", "1,000", "8", "16", "400", "2,048"],
        ["cortex-m3", "app", "1,000", "8", "16", "400", "2,048"],
        ["old", "gone"],
    ]


@given(now=A_SIZE, before=A_SIZE)
def test_now_less_what_changed_is_what_was_before(now: Sizes, before: Sizes) -> None:
    line = render([Row("host", "app", now, before)]).splitlines()[1]
    found = [int(word.replace(",", "").strip("()")) for word in line.split()[2:]]
    numbers = iter(found)
    for name in ("text", "data", "bss", "model", "arena"):
        value = next(numbers)
        assert value == getattr(now, name)
        if value != getattr(before, name):
            assert value - next(numbers) == getattr(before, name)


def test_the_table_has_no_colours_and_no_spaces_at_the_ends_of_lines() -> None:
    text = render([Row("host", "app", SMALL, None)])
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
