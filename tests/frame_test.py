"""The files around the code agree with it and with each other."""

import ast
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from floors_test import imported

import btbnet_jax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_requirements_txt_repeats_the_dependencies_of_pyproject():
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() == PROJECT["dependencies"]


def test_requirements_have_lower_bounds_and_no_others():
    extras = PROJECT["optional-dependencies"].values()
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    assert [line for line in lines if not re.fullmatch(r"[\w-]+(\[\w+\])?>=[\d.]+", line)] == []


def test_the_development_extra_holds_all_the_others_but_pytorch():
    """Which is large, and only there to compare with."""
    extras = PROJECT["optional-dependencies"]
    others = {line for name, extra in extras.items() if name != "benchmarks" for line in extra}
    assert others == set(extras["dev"])
    assert [line.partition(">=")[0] for line in extras["benchmarks"]] == ["torch"]


def test_the_changelog_begins_with_the_version():
    headings = re.findall(r"^## \[(\d.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == btbnet_jax.__version__


def test_the_citation_names_the_version():
    versions = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions == [btbnet_jax.__version__]


def test_only_the_package_is_installed():
    try:
        names = metadata.distribution("btbnet_jax").read_text("top_level.txt")
    except metadata.PackageNotFoundError:
        pytest.skip("btbnet_jax is not installed here, it is imported from its folder")
    assert names == "btbnet_jax\n"


def test_no_file_imports_another_framework(python_files: list[Path]):
    frameworks = {"cv2", "keras", "tensorflow", "torch", "torchvision"}
    found = [
        f"{path.name}: {name}"
        for path in python_files
        if path.parent.name != "benchmarks"  # which measure us beside others
        for name in imported(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in frameworks
    ]
    assert found == []


def test_functions_fit_on_a_screen(python_files: list[Path]):
    found = []
    for path in python_files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and (body[-1].end_lineno or 0) - body[0].lineno >= 50:
                    found.append(f"{path.name}: {node.name}")
    assert found == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile"])
def test_files_that_are_named_exist(name: str):
    named = re.findall(r"\]\(([\w./]+)\)|--flagfile=([\w./]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert [path for pair in named for path in pair if path and not (ROOT / path).exists()] == []
