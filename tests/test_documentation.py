"""The documentation is true where a program can check it: links, files, commands and their flags."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^(?P<fence>```|~~~)[^\n]*\n(?P<code>.*?)^(?P=fence)\s*$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")
HEADING = re.compile(r"^#+ +(.*?)\s*$", re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[\s'/])python3? ((?:\w+/)?\w+\.py)\b(.*)")
BARE_COMMAND = re.compile(r"^((?:\w+/)?\w+\.py)((?: +\S+)+)$")  # `han_trainer.py --cell lstm`
MAKE = re.compile(r"^(?:\$ )?make ([a-z][\w-]*)")
FILE = re.compile(r"^(?:\w+/)*\w+\.py$")
FLAG = re.compile(r"^--[\w-]+")
PLACEHOLDERS = {"SCRIPT.py"}
OTHER_PROGRAMS = {"--gpus", "--init", "--ip", "--require-hashes"}  # of Docker, Jupyter and pip
REDIRECTIONS = {"|", ">", ">>", "&", "&&", ";", "||", "2>&1"}


# ---------------------------------------------------------------------------------------------------------------------
# The checker: each function yields what is wrong with a page


def without_code(text: str) -> str:
    """The text of a page, without code."""
    return INLINE.sub("", FENCE.sub("", text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = LINK.sub(lambda link: link[0][1 : link[0].index("]")], heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


def broken_links(text: str, page: Path) -> Iterator[str]:
    """Relative links of a page that lead to no file, or to no heading."""
    for target in LINK.findall(without_code(text)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if name and not file.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8") if name else text):
            yield f"{target}: no such heading"


def code_lines(text: str) -> Iterator[str]:
    """Every line of fenced code, with its continuations, and every piece of inline code."""
    for fence in FENCE.finditer(text):
        yield from fence["code"].replace("\\\n", " ").splitlines()
    for piece in INLINE.findall(FENCE.sub("", text)):
        yield " ".join(piece.replace(r"\|", "|").split())


def wrong_commands(text: str) -> Iterator[str]:
    """Commands of a page that name no script, no make target, or flags and values that the script refuses."""
    for line in code_lines(text):
        if (make := MAKE.match(line)) and make[1] not in make_targets():
            yield f"{line}: no such target"
        if FILE.match(line) and not exists(line):
            yield f"{line}: no such file"
        if (flag := FLAG.match(line)) and flag[0] not in all_flags() | OTHER_PROGRAMS:
            yield f"{line}: no script has this flag"
        command = COMMAND.search(line)
        named = command or BARE_COMMAND.match(line)
        if named and named[1] not in PLACEHOLDERS:
            for problem in refusals(named[1], arguments_of(named[2])):
                if command or "arguments are required" not in problem:  # in passing, flags may be named alone
                    yield f"{line}: {problem}"


def exists(file: str) -> bool:
    """Whether there is such a file, by its path or, in passing, by its name in a folder."""
    return file in PLACEHOLDERS or (ROOT / file).is_file() or any(ROOT.glob(f"[a-z]*/{file}"))


@cache
def make_targets() -> set[str]:
    """The targets that ``make help`` lists."""
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@cache
def all_flags() -> set[str]:
    """The flags of all scripts."""
    scripts = [path.name for path in ROOT.glob("*.py") if "def build_parser" in path.read_text(encoding="utf-8")]
    scripts += ["benchmarks/run.py", "benchmarks/training_speed.py", "benchmarks/results_table.py"]
    return {flag for script in scripts for flag in parser_of(script)._option_string_actions}


def arguments_of(rest: str) -> list[str]:
    """The arguments of a command, up to its comment, redirection, or the end of a quotation around it."""
    try:
        words = shlex.split(rest, comments=True)
    except ValueError:  # a quotation that began before the command ends within it
        words = shlex.split(rest.rpartition("'")[0], comments=True)
    ends = [number for number, word in enumerate(words) if word in REDIRECTIONS]
    return words[: min(ends, default=len(words))]


def refusals(script: str, arguments: list[str]) -> Iterator[str]:
    """What a script's parser says about these arguments; nothing if it accepts them."""
    if not (ROOT / script).is_file():
        yield "no such script"
    elif arguments:
        try:
            parser_of(script).parse_args(arguments)
        except ValueError as error:
            yield str(error)


@cache
def parser_of(script: str) -> argparse.ArgumentParser:
    """The parser of a script; it raises :class:`ValueError` where the script would end."""

    def refuse(message: str) -> NoReturn:
        raise ValueError(message)

    parser: Any = importlib.import_module(script.removesuffix(".py").replace("/", ".")).build_parser()
    parser.error = refuse
    parser.exit = lambda *_: refuse("ends the program")
    return parser


# ---------------------------------------------------------------------------------------------------------------------
# The documentation


@pytest.fixture(autouse=True)
def _import_benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page.read_text(encoding="utf-8"), page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_accepted(page: Path) -> None:
    assert list(wrong_commands(page.read_text(encoding="utf-8"))) == []


# ---------------------------------------------------------------------------------------------------------------------
# The checker itself


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_conflict_of_a_merge_is_left(page: Path) -> None:
    assert not re.search(r"^(<{7} |={7}$|>{7} )", page.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_have_up_to_120_characters(page: Path) -> None:
    """But those of code and of tables, of pictures, and what a script writes between two markers."""
    text = re.sub(r"^<!-- (\w+):.*?^<!-- /\1 -->", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    prose = [line for line in FENCE.sub("", text).splitlines() if not line.startswith(("|", "![", "    "))]
    assert [line for line in prose if len(line) > 120] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `b`, c\n## Twice\n## Twice\n```\n# no heading\n```\n", encoding="utf-8")
    good = "[a](there.md) [b](there.md#a-b-c) [c](there.md#twice-1) [d](https://x.org/no) [e](#own)\n"
    good += "# Own\n`[f](no.md)`"
    assert list(broken_links(good, tmp_path / "page.md")) == []
    bad = "![a](gone.png) [b](there.md#b) [c](there.md#no-heading) [d](#own)"
    assert list(broken_links(bad, tmp_path / "page.md")) == [
        "gone.png: no such file",
        "there.md#b: no such heading",
        "there.md#no-heading: no such heading",
        "#own: no such heading",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "```\npython no_such_script.py\n```",
        "```sh\n$ make no-such-target\n```",
        "```\npython han_trainer.py --no_such_flag 1\n```",
        "```\nnohup python3 han_trainer.py \\\n  --pooling median >> train.out &\n```",
        "```\nTF_CONFIG='{}' .venv/bin/python han_trainer.py --batch_size many   # why\n```",
        "```\ndocker run han sh -c 'pip install x && python explain.py run --txt a'\n```",
        "`python explain.py --text alone`",
        "`han_tester.py --run_typ test`",
        "`--no_such_flag 1`",
        "`make no-such-target`",
        "`python benchmarks/run.py --only nothing`",
        "`network/no_such_module.py`",
    ],
)
def test_a_wrong_command_is_found(command: str) -> None:
    assert len(list(wrong_commands(command))) == 1


def test_right_commands_pass() -> None:
    text = """
    ```sh
    make demo GPU=1
    $ nohup python3 han_trainer.py --run_type "train" --seed 2 >> train.out &   # --no_flag
    docker run han python run_all.py imdb True \\
      --source /mnt/a.tar.gz
    docker run han sh -c 'exec python predict.py run reviews.csv'
    grep x | python predict.py run - > out.csv
    ```
    `han.py`, `python SCRIPT.py --help`, `--seed`, `python benchmarks/run.py --quick`, `make` alone
    """.replace("\n    ", "\n")
    assert list(wrong_commands(text)) == []
