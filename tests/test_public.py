"""The names that a user imports: which there are, where they live, what they take, and what a type checker knows of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch

import pyrovae
from pyrovae import VAE

ROOT = Path(__file__).parents[1]
MODULES = [name for _, name, _ in pkgutil.walk_packages(pyrovae.__path__, "pyrovae.") if not name.endswith("__main__")]


def test_the_types_of_the_names_come_from_where_the_names_do() -> None:
    """Row by row: what a type checker reads is what is imported."""
    tree = ast.parse(Path(pyrovae.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [(node.module, alias) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert len(imports) == len({alias.name for _, alias in imports})
    # only a name that is imported as itself is exported to others under strict rules
    assert all(alias.asname == alias.name for _, alias in imports)
    assert {alias.name: module for module, alias in imports} == {name: f"pyrovae.{home}" for name, home in pyrovae._HOMES.items()}


def test_dir_shows_the_public_names_before_they_are_used() -> None:
    code = "import sys, pyrovae; print(*dir(pyrovae)); assert 'torch' not in sys.modules"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(found) == {"__version__", *pyrovae._HOMES}
    assert found == sorted(pyrovae.__all__)
    assert len(pyrovae.__all__) == len(set(pyrovae.__all__))


@pytest.mark.parametrize("name", sorted(pyrovae._HOMES))
def test_every_public_name_is_there(name: str) -> None:
    thing = getattr(pyrovae, name)
    assert thing is getattr(importlib.import_module(f"pyrovae.{pyrovae._HOMES[name]}"), name)
    assert inspect.getdoc(thing)


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'VEA'"):
        pyrovae.VEA  # noqa: B018


def test_one_name_is_one_thing() -> None:
    """Whatever modules export, under one name they export the same."""
    exported = defaultdict(list)
    for module in map(importlib.import_module, MODULES):
        for name in getattr(module, "__all__", ()):
            exported[name].append((module.__name__, getattr(module, name)))
    assert len(exported) > 40
    assert {
        name: [module for module, _ in where]
        for name, where in exported.items()
        if any(thing is not where[0][1] for _, thing in where)
    } == {}


PLACES = {"path", "folder", "file", "run", "runs", "out", "root", "data_root", "json", "figures", "plugin"}
"""Words for files and folders among the parameters."""


def public_functions() -> list[tuple[str, Any]]:
    names = {name: getattr(pyrovae, name) for name in pyrovae._HOMES}
    functions = [(name, thing) for name, thing in names.items() if inspect.isfunction(thing)]
    methods = [
        (f"{name}.{attribute}", getattr(thing, attribute))
        for name, thing in names.items()
        if inspect.isclass(thing)
        for attribute, member in vars(thing).items()
        if not attribute.startswith("_") and inspect.isfunction(member) | isinstance(member, classmethod | staticmethod)
    ]
    return functions + methods


def paths() -> list[tuple[str, str, str]]:
    """Function, parameter and annotation of what takes a path, by its name or by its annotation."""
    return [
        (name, parameter.name, str(parameter.annotation))
        for name, function in public_functions()
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name in PLACES or "Path" in str(parameter.annotation)
    ]


def test_the_walk_finds_paths() -> None:
    assert {("save", "folder"), ("train", "out"), ("evaluate", "run"), ("compare", "run")} <= {(f, p) for f, p, _ in paths()}


def test_a_path_may_be_text_or_a_path() -> None:
    assert [(function, parameter) for function, parameter, annotation in paths() if "str | Path" not in annotation] == []


@pytest.mark.parametrize("name", sorted(name for name, _ in public_functions()))
def test_every_public_function_is_annotated(name: str) -> None:
    signature = inspect.signature(dict(public_functions())[name])
    assert signature.return_annotation is not inspect.Signature.empty
    bare = [
        p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty and p.name not in ("self", "cls")
    ]
    assert bare == []


class Place(os.PathLike[str]):
    """A path of a class that is neither text nor ``pathlib``'s."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Place])
def test_a_model_is_saved_and_loaded_at_any_kind_of_path(kind: Any, tmp_path: Path) -> None:
    vae = VAE((4,), 2, "normal", kind="reals", network="linear")
    pyrovae.save(vae, kind(tmp_path / "m"))
    again = pyrovae.load(kind(tmp_path / "m"))
    assert all(torch.equal(again.state_dict()[name], weight) for name, weight in vae.state_dict().items())


USER = """
from pathlib import Path

import torch
from torch import Tensor

from pyrovae import VAE, fit, load, load_dataset, save

vae = VAE((8, 8), latent_dim=2, likelihood={"name": "normal", "scale": 0.1})
posterior = vae.encode(torch.zeros(5, 8, 8))
mean: Tensor = posterior.mean
drawn: Tensor = posterior.sample(torch.Size((3,)))
image: Tensor = vae(torch.zeros(5, 8, 8))
log_density: Tensor = vae.likelihood(drawn).log_prob(image)
fit(vae, load_dataset("digits"), epochs=1)
save(vae, Path("m"))
again: VAE = load("m")
posterior.meen  # wrong
vae.encode()  # wrong
save(vae, 5)  # wrong
"""


def test_a_users_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    """Strict: what is right passes, and each thing that is wrong is found."""
    script = tmp_path / "user.py"
    script.write_text(USER, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", str(script)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = {int(line.split(":")[1]) for line in found.stdout.splitlines() if ": error:" in line}
    assert lines == {n for n, line in enumerate(USER.splitlines(), 1) if line.endswith("# wrong")}, found.stdout + found.stderr
