"""What the documentation says exists, and what exists is documented."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest

from edgelearn import __version__, errors
from edgelearn.cli.arguments import Parser, add_common
from edgelearn.cli.main import main
from edgelearn.cli.verbs import VERBS, exists, load
from edgelearn.device.board import list_boards
from edgelearn.runtime.model import BASE_MODEL, Word
from edgelearn.runtime.protocols import METRICS
from edgelearn.runtime.recognizer import Event

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/base_model.md", "docs/cli.md")
PLACEHOLDER = re.compile(r"@@[^@\n]+@@")
TEXT_SUFFIXES = ("", ".cfg", ".csv", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml")
# folders that the tools make, besides those whose name starts with a dot
MADE = {"__pycache__", "build", "dist"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATE = load_generator()


def code_lines(page: str) -> Iterator[str]:
    """Every line of a fenced or indented block, and all inline code."""
    text = PLACEHOLDER.sub("1", read(page))
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    yield from (line for block in fenced for line in block.splitlines())
    yield from (line[4:] for line in text.splitlines() if line.startswith("    "))
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands(page: str) -> Iterator[list[str]]:
    """The words of every `edgelearn VERB ...` that stands in code; a pipe or a comment ends one."""
    for line in code_lines(page):
        for part in re.split(r"[|&]", line.removeprefix("$ ")):
            if not part.strip().startswith(("edgelearn ", ".venv/bin/edgelearn ")):
                continue
            words = shlex.split(part.replace("'edgelearn[", "edgelearn["), comments=True)[1:]
            # a placeholder of usage, as in `edgelearn VERB --help`
            if words and words[0] != "VERB":
                yield words


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/cli.md"])
def test_commands_parse(page: str) -> None:
    for words in commands(page):
        if words[0].startswith("-"):
            assert words in (["--help"], ["--version"])
            continue
        assert words[0] in VERBS, f"{page} names {words}"
        assert exists(words[0]), f"{page} uses {words}, which is not there yet"
        if len(words) == 1:  # a verb that is named, and not a command to type
            continue
        parser = Parser(prog=words[0], add_help=False)
        module = load(words[0])
        module.add_arguments(parser)
        add_common(parser)
        if words[0] == "evaluate" and "--data" not in words:
            words = [*words, "--data", "DATA"]
        args = parser.parse_known_or_refuse(words[1:])
        board = vars(args).get("device.board")
        assert board is None or board in list_boards()


@pytest.mark.usefixtures("capsys")
def test_the_budgets_of_the_readme_are_enough() -> None:
    shown = [words for words in commands("README.md") if words[0] == "profile" and "--plot" not in words]
    assert any("--budget" in words for words in shown)
    assert [words for words in shown if main([*words, "--model", str(BASE_MODEL)])] == []


def test_the_readme_shows_the_commands_that_a_newcomer_needs() -> None:
    shown = {words[0] for words in commands("README.md")}
    assert {"demo", "add", "listen", "words", "remove", "undo", "profile", "evaluate", "pretrain"} <= shown
    assert len(read("README.md").splitlines()) <= 220


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", read("Makefile"), re.MULTILINE))
    for page in PAGES:
        named = {m[1] for line in code_lines(page) if (m := re.match(r"make ([a-z][a-z0-9-]*)", line))}
        assert named <= targets, f"{page} names targets that the Makefile lacks"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", read(page)):
        assert "://" in target or ((ROOT / page).parent / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    named = re.findall(r"`((?:edgelearn|tests|configs|docs|examples|scripts|\.ci)/[\w./-]*)`", read(page))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_links_lead_to_pages_and_quoted_sections_that_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for link, section in re.findall(r"\]\(([^)#\s]+)[^)]*\)(?:,\s+\"([^\"]+)\")?", text):
            if "://" in link:
                continue
            there = page.parent / link
            assert there.exists(), f"{page.name} links to {link}"
            if section:
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                assert " ".join(section.split()) in headings, f'{page.name} quotes "{section}" of {link}'


def test_the_command_reference_is_what_the_program_says() -> None:
    assert read("docs/cli.md") == GENERATE.render_cli(), "type: make docs"


def test_the_memory_map_is_that_of_the_shipped_model() -> None:
    text = read("ARCHITECTURE.md")
    assert GENERATE.MAP_BEGIN in text
    assert text == GENERATE.with_memory_map(text), "type: make docs"


def test_every_verb_has_a_section() -> None:
    sections = re.findall(r"^## (\w+)$", read("docs/cli.md"), re.MULTILINE)
    assert set(VERBS) <= set(sections)


def emitted(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Event and literal field names of every call of `emit` in a module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "emit":
            event = node.args[0]
            assert isinstance(event, ast.Constant)
            yield str(event.value), {keyword.arg for keyword in node.keywords if keyword.arg is not None}


def documented(verb: str, event: str) -> set[str]:
    return {name for names in GENERATE.EVENTS.get((verb, event), {}) for name in names.split(", ")}


def test_every_json_field_is_described() -> None:
    """An event of a verb's own module is described for that verb, one that verbs share for all that print it."""
    for path in sorted(ROOT.glob("edgelearn/cli/**/*.py")):
        own = path.stem if path.parent.name == "verbs" else None
        for event, names in emitted(path):
            verbs = [verb for verb, name in GENERATE.EVENTS if name == event and own in (verb, None)]
            assert verbs, f"describe the event {event!r} of {path.name} in docs/generate.py"
            for verb in verbs:
                missing = sorted(names - documented(verb, event))
                assert not missing, f"describe {missing} of {verb}'s {event!r} in docs/generate.py"


def test_events_that_are_described_exist() -> None:
    printed = {event for path in ROOT.glob("edgelearn/cli/**/*.py") for event, _ in emitted(path)}
    assert {event for _, event in GENERATE.EVENTS} <= printed
    assert {verb for verb, _ in GENERATE.EVENTS} <= {verb for verb in VERBS if exists(verb)}


def test_exit_codes_are_described() -> None:
    assert {verb for verb in VERBS if exists(verb)} <= set(GENERATE.EXITS), "say how these end, in docs/generate.py"
    architecture = read("ARCHITECTURE.md")
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.EdgelearnError):
            assert error.exit_code in GENERATE.EXIT_CODES
            assert f"| `{name}` | {error.exit_code} |" in architecture


def test_fields_that_come_from_objects_are_described() -> None:
    assert Event("bed", 0, 0, 0, 0, 0.02, 0.0).fields().keys() == documented("listen", "word")
    words = {field.name for field in fields(Word)} - {"name"} | {"word", "threshold"}
    assert words == documented("words", "vocabulary")
    tree = ast.parse(read("edgelearn/cli/appliance.py"))
    (function,) = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "added_fields")
    (table,) = (n for n in ast.walk(function) if isinstance(n, ast.Dict))
    keys = {key.value for key in table.keys if isinstance(key, ast.Constant)}
    assert keys == documented("demo", "added")
    meanwhile = {"frames_due", "frames_heard", "frames_lost", "overruns"}  # of a session that is running
    assert documented("add", "added") == keys | meanwhile
    tree = ast.parse(read("edgelearn/cli/verbs/info.py"))
    (facts,) = (n.value for n in ast.walk(tree) if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "facts")
    assert isinstance(facts, ast.Dict)
    assert {key.value for key in facts.keys if isinstance(key, ast.Constant)} == documented("info", "info")
    assert {f"{metric}_kN" for metric in METRICS} <= documented("evaluate", "result")


def test_the_architecture_names_every_module_and_no_other() -> None:
    section = read("ARCHITECTURE.md").partition("\n## Modules\n")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([^`]+\.py)` \|", section, re.MULTILINE)
    found: set[str] = set()
    for pattern in named:
        matches = {str(path.relative_to(ROOT)) for path in ROOT.glob(pattern)}
        assert matches, f"ARCHITECTURE.md names {pattern}, which is not there"
        found |= matches
    modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("edgelearn/**/*.py") if path.name != "__init__.py"}
    assert modules - found == set(), "ARCHITECTURE.md does not name these"
    assert len(named) == len(set(named))


def test_the_recipe_is_the_one_that_is_described() -> None:
    """Read from the source, as importing it needs PyTorch."""
    tree = ast.parse(read("edgelearn/pretrain/train.py"))
    (recipe,) = (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == "Recipe")
    items = [item for item in recipe.body if isinstance(item, ast.AnnAssign) and isinstance(item.value, ast.Constant)]
    wanted = {ast.unparse(item.target): f"{ast.literal_eval(item.value):g}" for item in items if item.value}
    told = dict(re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", read("docs/base_model.md"), re.MULTILINE))
    assert told == wanted


def test_the_changelog_knows_the_version() -> None:
    assert f"\n## [{__version__}]" in read("CHANGELOG.md")


def test_every_figure_is_filled_in() -> None:
    assert {page: found for page in PAGES if (found := PLACEHOLDER.findall(read(page)))} == {}


def text_files() -> Iterator[Path]:
    for path in sorted(ROOT.rglob("*")):
        folders = path.relative_to(ROOT).parts[:-1]
        made = MADE & set(folders) or any(name.startswith(".") and name != ".ci" for name in folders)
        if path.is_file() and path.suffix in TEXT_SUFFIXES and not made:
            yield path


def test_no_path_of_one_machine_is_in_the_project() -> None:
    # where people and their tools keep things; a path in the text of a manual page or of a test is relative
    private = re.compile(r"(?<![\w.~-])/(?:home|root|opt|work|workspace|Users|mnt|srv|var/folders)/\w")
    found = []
    for path in text_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}:{n}" for n, line in enumerate(lines, 1) if private.search(line)]
    assert found == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_stands_on_its_own(page: str) -> None:
    """No numbers of a tracker that the reader may not know, and nothing left open."""
    assert not re.findall(r"\b(?:issue|ticket) #?\d+|\bTODO\b|\bFIXME\b|\bTBD\b", read(page), re.IGNORECASE)
