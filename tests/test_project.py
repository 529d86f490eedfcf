"""The house rules that a program can check."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli

import edgelearn
import firmware_sim
from edgelearn import errors, jit

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MODULES = sorted([*ROOT.glob("edgelearn/**/*.py"), *ROOT.glob("firmware_sim/**/*.py")])

# what each part may not import; the engine and the front end lay their arrays out in edgelearn.device.arena
FORBIDDEN = {
    "edgelearn/audio": ("engine", "learning", "runtime", "cli", "store", "pretrain", "config"),
    "edgelearn/engine": ("audio", "learning", "runtime", "cli", "store", "pretrain", "config"),
    "edgelearn/device": ("audio", "learning", "runtime", "cli", "store", "pretrain", "config"),
    "edgelearn/learning": ("runtime", "cli", "pretrain"),
    "edgelearn/store": ("runtime", "cli", "pretrain"),
    "edgelearn/runtime": ("cli", "pretrain", "actions", "integrations"),
    "edgelearn/actions": ("cli", "pretrain", "integrations", "config", "learning", "engine", "audio", "store"),
    "edgelearn/integrations": ("cli", "pretrain", "config"),
    "edgelearn/pretrain": ("cli",),
    "edgelearn/firmware": ("cli", "pretrain"),
}


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(run_time_nodes(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def run_time_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`, which name a type and import nothing."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from run_time_nodes(child)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_layers(path: Path) -> None:
    for folder, others in FORBIDDEN.items():
        if path.is_relative_to(ROOT / folder):
            wrong = [name for name in imports(path) for other in others if in_package(name, f"edgelearn.{other}")]
            assert not wrong
    if path.is_relative_to(ROOT / "edgelearn"):
        assert not [name for name in imports(path) if in_package(name, "firmware_sim")]


def in_package(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_packages_that_are_optional_or_slow_to_import_are_imported_where_they_are_used(path: Path) -> None:
    if not path.is_relative_to(ROOT / "edgelearn/pretrain"):
        late = ["torch", "onnx", "onnxruntime", "matplotlib", "soundfile", "sounddevice", "scipy"]
        late += ["gpiozero", "paho"]
        late += ["wyoming"] * (path.name != "wyoming_server.py")  # whose verb imports it late
        late += ["rich"] * (path.name != "live_view.py")  # the same
        found = [name for name in imports(path, top_level_only=True) if name.partition(".")[0] in late]
        found += [n for n in imports(path, top_level_only=True) if n.endswith((".wyoming_server", ".live_view"))]
        assert not found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_assert_no_todo_and_a_docstring(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    # an assert goes away under `python -O`, and is a traceback for a user
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert not re.findall(r"\b(?:TODO|FIXME|XXX)\b", source)


def test_all_that_a_kernel_has_code_or_constants_from_is_in_the_name_of_its_cache() -> None:
    package = ROOT / "edgelearn"
    kernels = {path for path in package.rglob("*.py") if re.search(r"^\s*@kernel\b", path.read_text("utf-8"), re.M)}
    names = {name for path in kernels for name in imports(path)}
    needed = kernels | {path for path in package.rglob("*.py") if name_of(path)[:-3].replace("/", ".") in names}
    sources = {path for pattern in jit._KERNEL_SOURCES for path in package.glob(pattern)}
    assert len(kernels) > 12
    assert needed - sources <= {package / "errors.py"}  # errors are raised outside of kernels


def test_only_declared_packages_are_imported() -> None:
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = {
        re.split(r"[^\w]", requirement)[0].lower()
        for requirement in [*PROJECT["project"]["dependencies"], *(r for extra in extras for r in extra)]
    }
    used = {name.partition(".")[0] for path in MODULES for name in imports(path)}
    foreign = used - set(sys.stdlib_module_names) - {"edgelearn", "firmware_sim", ""}
    assert foreign <= declared


def test_the_tests_are_found_where_the_larger_extras_are_missing() -> None:
    """As after `make test` on a fresh machine: what needs PyTorch and the like is skipped there."""
    program = """
import importlib.abc, sys
import pytest

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxruntime", "matplotlib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "tests/learning/test_learner.py" in done.stdout
    assert "tests/pretrain/test_model.py" not in done.stdout


def test_exit_codes_are_those_that_help_documents() -> None:
    documented = {"EdgelearnError": 1, "UsageError": 2, "AudioDeviceError": 3, "ModelFileError": 4}
    assert {name: getattr(errors, name).exit_code for name in documented} == documented
    assert errors.BudgetExceeded.exit_code == 5
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(c, errors.EdgelearnError) for c in classes)


def test_versions_and_licence() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", edgelearn.__version__)
    assert firmware_sim.__doc__
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "CC BY 4.0" in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_the_scripts_are_valid_and_can_be_run() -> None:
    for script in ("scripts/setup.sh", "scripts/firmware_tools.sh", "scripts/arm64_test.sh", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK)
        subprocess.run(["sh", "-n", ROOT / script], check=True)


@pytest.mark.parametrize(
    ("python", "message"),
    [
        ("import sys; sys.exit(1)", "needs Python 3.11 to 3.14 and found Python 3.9.2"),
        ("import sys; sys.exit('ensurepip' in sys.argv[-1])", "type:  sudo apt install python3.11-venv"),
    ],
    ids=["too old", "no venv"],
)
def test_setup_says_what_is_missing(tmp_path: Path, python: str, message: str) -> None:
    """A false Python, which answers the questions of the script with `python`."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/setup.sh").write_bytes((ROOT / "scripts/setup.sh").read_bytes())
    (tmp_path / "pyproject.toml").touch()
    false = tmp_path / "python"
    false.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if sys.argv[-1] == '--version': sys.exit(print('Python 3.9.2'))\n"
        "if 'print' in sys.argv[-1]: sys.exit(print('3.11'))\n" + python
    )
    false.chmod(0o755)
    done = subprocess.run(
        ["sh", tmp_path / "scripts/setup.sh", "dev"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHON": str(false)},
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".venv").exists()


def test_the_wheel_holds_what_an_installed_program_needs(tmp_path: Path) -> None:
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    (built,) = wheel.build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(built).namelist())
    assert {"edgelearn/_configs/runtime.toml", "firmware_sim/__init__.py", "edgelearn/cli/main.py"} <= names
    configs = {f"edgelearn/_{path.relative_to(ROOT)}" for path in ROOT.glob("configs/**/*.toml")}
    assets = {name_of(path) for path in ROOT.glob("edgelearn/assets/**/*") if path.is_file()}
    assert configs | assets <= names
    assert {Path(name).name for name in names if "licenses" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]
