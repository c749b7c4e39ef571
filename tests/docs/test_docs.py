"""Every link in README and the documentation resolves, and every command that they name is valid."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from terrycloth.experiments.cli import app
from terrycloth.experiments.settings.renamed import with_new_flags

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = DOCS / "reference" / "api"
PAGES = sorted(path for path in DOCS.rglob("*.md") if GENERATED not in path.parents)
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *PAGES]
FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE_SPAN = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
SHELL = {"bash", "sh", "shell", "console", ""}
PLACEHOLDERS = {"VERB", "…"}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Return a page without its code blocks and comments."""
    return COMMENT.sub("", FENCE.sub("", text))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST name them."""
    headings = re.findall(r"^#+ +(.*?)\s*$", prose(read(path)), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def links(path: Path) -> list[str]:
    return [found[1] for found in LINK.finditer(CODE_SPAN.sub("", prose(read(path))))]


def shell_lines(path: Path) -> Iterator[str]:
    """Yield the lines of its shell blocks, with continued lines joined and comments removed."""
    for found in FENCE.finditer(read(path)):
        if found[2].strip() in SHELL:
            whole = re.sub(r"\\\n\s*", " ", found[3])
            for line in whole.splitlines():
                if command := re.sub(r"(^|\s)#.*$", "", line).strip().removeprefix("$ "):
                    yield command


def named_commands(path: Path) -> Iterator[str]:
    """Yield `terry` and what follows it, from shell blocks and from code within sentences."""
    yield from (line for line in shell_lines(path) if line.startswith("terry "))
    for found in CODE_SPAN.finditer(prose(read(path))):
        text = " ".join(found[2].split())
        if text.startswith("terry ") and not PLACEHOLDERS & set(text.split()):
            yield text


def objection(command_line: str) -> str | None:
    """Return what `terry` would object to in a command line's verbs, flags and arguments, or None.

    A verb alone only names the verb: that it needs arguments is no fault.
    """
    _, *arguments = shlex.split(command_line)
    arguments = with_new_flags(arguments)
    command: click.Command = typer.main.get_command(app)
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        verb, *arguments = arguments
        child = command.commands.get(verb)
        if child is None:
            return f"{command.name} has no verb {verb}"
        command = child
    try:
        _, extra, _ = command.make_parser(click.Context(command)).parse_args(list(arguments))
    except click.UsageError as error:
        return error.format_message()
    if extra and not isinstance(command, click.Group):
        return f"too many arguments: {extra}"
    return None


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXTS, ids=ids)
def test_links_resolve(path: Path) -> None:
    for target in links(path):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        # docs/contributing.md and docs/changelog.md include files of the root, which therefore have no
        # relative links.
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), f"{target} does not exist"
        assert linked.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(linked), f"{target}: there is no such heading"


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "CHANGELOG.md"])
def test_a_file_included_in_docs_has_no_relative_links(name: str) -> None:
    """The file is shown in two places, and a relative link would resolve in only one of them."""
    assert all(re.match(r"https?://|#", target) for target in links(ROOT / name))


@pytest.mark.parametrize("path", TEXTS, ids=ids)
def test_terry_commands_are_valid(path: Path) -> None:
    for command_line in named_commands(path):
        assert objection(command_line) is None, f"{command_line}: {objection(command_line)}"


@pytest.mark.parametrize("path", TEXTS, ids=ids)
def test_make_targets_and_modules_exist(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    spans = (" ".join(found[2].split()) for found in CODE_SPAN.finditer(prose(read(path))))
    for command_line in [*shell_lines(path), *spans]:
        if found := re.match(r"make ([a-z-]+)", command_line):
            assert found[1] in targets, command_line
        if found := re.match(r"python -m (terrycloth[\w.]*)", command_line):
            assert importlib.util.find_spec(found[1]) is not None, command_line


@pytest.mark.parametrize(
    ("command_line", "fault"),
    [
        ("terry simulate --data towels --nosuch 3", "nosuch"),
        ("terry simulat", "no verb simulat"),
        ("terry data nothing", "no verb nothing"),
        ("terry data list towels", "too many"),
        ("terry simulate --epsilon", "--epsilon"),
    ],
)
def test_an_invalid_command_is_detected(command_line: str, fault: str) -> None:
    assert fault in (objection(command_line) or "")


def test_the_pages_hold_commands_and_links() -> None:
    """Otherwise the tests above would pass without checking anything."""
    assert sum(1 for path in TEXTS for _ in named_commands(path)) > 30
    assert sum(len(links(path)) for path in TEXTS) > 30


def test_every_page_is_in_the_navigation() -> None:
    index = read(DOCS / "index.md")
    entries = {
        entry
        for found in FENCE.finditer(index)
        if found[2].strip() == "{toctree}"
        for line in found[3].splitlines()
        if (entry := line.strip()) and not entry.startswith(":")
    }
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES} - {"index"}
    assert entries == pages | {"reference/api/modules"}


def test_readme_stays_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= 150


def test_the_citation_has_the_version_of_the_project() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    citation = read(ROOT / "CITATION.cff")
    assert f'version: "{project["version"]}"' in citation
    assert f"license: {project['license']}" in citation
    assert citation.startswith("cff-version: 1.2.0\n")


def test_the_packages_that_build_the_documentation_are_pinned() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    lines = [line.split("==") for line in read(ROOT / "constraints.txt").splitlines() if "==" in line]
    pins = {canonicalize_name(name): version for name, version in lines}
    for text in project["optional-dependencies"]["docs"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_continuous_integration_builds_the_documentation() -> None:
    assert "\nmake docs\n" in read(ROOT / ".ci" / "run")
    assert "--fail-on-warning" in read(ROOT / "Makefile")


def test_links_and_anchors_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# It's `one` thing\n\n[a](other.md) ![b](b.png) `[c](c.md)`\n\n"
        "```text\n[d](d.md)\n```\n<!-- [e](e.md) -->\n",
        encoding="utf-8",
    )
    assert links(page) == ["other.md", "b.png"], "links in code and in comments are not counted"
    assert anchors(page) == {"its-one-thing"}
