"""The house: who imports whom, where Pyro's primitives are, what is forbidden, what is documented."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import docstring_parser
import pytest

import pyrovae
from pyrovae import cli, commands
from pyrovae.cli.parsing import TRAIN_ROLES
from pyrovae.parts import MODEL_ROLES, ROLES

ROOT = Path(pyrovae.__file__).parent

# The rooms from the ground up: a room imports from those before it only. Errors, the version and the system stand on nothing;
# contracts name what parts promise; families and the roles made of them, data and objectives know each other only through
# contracts; parts is their tables; on these stand the VAE, then what measures and trains it, then run folders and what is
# done with them, then the commands and the command line. pyrovae/__init__.py and __main__.py are doors, not rooms.
ROOMS = [
    "errors",
    "version",
    "system",
    "contracts",
    "families",
    "likelihoods",
    "posteriors",
    "priors",
    "networks",
    "contexts",
    "preprocess",
    "data",
    "objectives",
    "optimizers",
    "schedules",
    "parts",
    "inputs",
    "vae",
    "engines",
    "evidence",
    "training",
    "runs",
    "drawing",
    "comparison",
    "commands",
    "cli",
]
DOORS = {"pyrovae", "pyrovae.__main__"}
PRIMITIVES = {"sample", "plate", "module"}
UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "torch.load",
    "torch.jit.load",
    "os.system",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {module_name(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def room(module: str) -> str:
    return module.split(".")[1]


def imports(tree: ast.AST, modules: set[str], *, deferred: bool) -> set[str]:
    """Modules of the package that a tree imports; those in functions and under TYPE_CHECKING only where ``deferred``."""
    found = set()
    for node in statements(tree, deferred):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (members & modules) | ({node.module} if members - modules else set())
    return found & modules


def statements(node: ast.AST, deferred: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        later |= isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if deferred or not later:
            yield child
            yield from statements(child, deferred)


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """What is left when modules that import nothing that is left are taken away again and again."""
    left = dict(graph)
    while free := [name for name, used in left.items() if not (used & left.keys() - {name})]:
        for name in free:
            del left[name]
    return sorted([name, *sorted(used & left.keys())] for name, used in left.items())


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of names and attributes; empty for others."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of every import anywhere in a tree; the name is empty for ``import module``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


# --- the walk itself -----------------------------------------------------------------------------------------------------


def test_the_walk_sees_every_kind_of_import():
    modules = {"pyrovae.a", "pyrovae.b", "pyrovae.b.c", "pyrovae.d", "pyrovae.e"}
    source = (
        "import pyrovae.a\nfrom pyrovae.b import c, X\nif TYPE_CHECKING:\n    from pyrovae.d import Y\n"
        "def f():\n    from pyrovae import e\nimport numpy\n"
    )
    assert imports(ast.parse(source), modules, deferred=True) == modules
    assert imports(ast.parse(source), modules, deferred=False) == {"pyrovae.a", "pyrovae.b", "pyrovae.b.c"}


def test_the_walk_finds_cycles():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["a", "b"], ["b", "c"], ["c", "b"]]


def test_the_walk_covers_the_package():
    assert {"pyrovae.vae", "pyrovae.data", "pyrovae.data.arrays", "pyrovae.__main__"} <= TREES.keys()


# --- who imports whom -----------------------------------------------------------------------------------------------------


def test_no_module_imports_itself_through_others():
    """Nor through imports in functions and for the type checker, which would only hide it."""
    assert cycles({name: imports(tree, set(TREES), deferred=True) for name, tree in TREES.items()}) == []


def test_every_room_has_its_place_in_the_order():
    assert {room(name) for name in TREES.keys() - DOORS} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(TREES.keys() - DOORS))
def test_no_import_goes_up(name):
    below = ROOMS[: ROOMS.index(room(name)) + 1]
    used = imports(TREES[name], set(TREES), deferred=True)
    assert {other for other in used if other in DOORS or room(other) not in below} == set()


def test_nobody_imports_a_private_name_of_another_module():
    for name, tree in TREES.items():
        private = [
            (module, what) for module, what in imported_names(tree) if module.startswith("pyrovae") and what.startswith("_")
        ]
        assert {what for _, what in private} <= {"__version__"}, name


# --- what is where --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(TREES))
def test_pyros_primitives_are_in_the_vae_only(name):
    used = {dotted(node) for node in ast.walk(TREES[name])} & {f"pyro.{primitive}" for primitive in PRIMITIVES}
    imported = {what for module, what in imported_names(TREES[name]) if module in ("pyro", "pyro.primitives")} & PRIMITIVES
    expected = {"pyro.sample", "pyro.plate", "pyro.module"} if name == "pyrovae.vae" else set()
    assert (used, imported) == (expected, set())


@pytest.mark.parametrize("name", sorted(TREES))
def test_nothing_runs_what_it_reads(name):
    called = {dotted(node.func) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)}
    assert called & FORBIDDEN_CALLS == set()
    assert {module.partition(".")[0] for module, _ in imported_names(TREES[name])} & UNPICKLERS == set()
    assert {(module, what) for module, what in imported_names(TREES[name]) if f"{module}.{what}" in FORBIDDEN_CALLS} == set()


@pytest.mark.parametrize("name", sorted(TREES))
def test_arrays_are_loaded_without_pickle(name):
    loads = [
        node for node in ast.walk(TREES[name]) if isinstance(node, ast.Call) and dotted(node.func) in ("np.load", "numpy.load")
    ]
    for call in loads:
        options = {keyword.arg: keyword.value for keyword in call.keywords}
        assert ast.literal_eval(options["allow_pickle"]) is False


@pytest.mark.parametrize("name", sorted(TREES))
def test_no_star_imports(name):
    assert [module for module, what in imported_names(TREES[name]) if what == "*"] == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_what_is_public_has_a_docstring(name):
    documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public = [node for node in TREES[name].body if isinstance(node, documented) and not node.name.startswith("_")]
    # overloads are the types of one function, which has the docstring
    typed = [node.name for node in public if "overload" in map(dotted, node.decorator_list)]
    assert [node.name for node in public if not ast.get_docstring(node)] == typed
    assert ast.get_docstring(TREES[name])


def test_what_the_type_checker_is_not_told_has_a_reason():
    """An error of mypy is left out by its code, with the reason beside it."""
    lines = [line for path in ROOT.rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    ignored = [line for line in lines if "type: ignore" in line]
    assert ignored
    assert [line for line in ignored if not re.search(r"# type: ignore\[[a-z-]+\]  # \w", line)] == []


def strings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Every text in a tree but docstrings, which a command's help is made of."""
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node


@pytest.mark.parametrize("name", sorted(name for name in TREES.keys() - DOORS if room(name) != "cli"))
def test_only_the_command_line_spells_a_flag(name):
    assert [node.lineno for node in strings(TREES[name]) if re.search(r"(?<![\w-])--[a-z]", node.value)] == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_errors_say_what_was_given_and_what_is_wrong_with_it(name):
    """``UserError(option, value, reason, remedy)``, the option a name and no sentence; an error's parts may be handed on."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and dotted(node.func).endswith("UserError"):
            given = len(node.args) + len(node.keywords)
            assert given in (3, 4) or any(isinstance(argument, ast.Starred) for argument in node.args), node.lineno
            if isinstance(node.args[0], ast.Constant) and node.args[0].value is not None:
                assert re.fullmatch(r"[a-z_0-9]+(\.[a-z_0-9]+)?", node.args[0].value), node.lineno


# --- commands and roles ----------------------------------------------------------------------------------------------------


def test_every_command_is_a_function_of_the_api():
    for name in cli.COMMANDS.keys() - {"list"}:
        assert inspect.isfunction(getattr(commands, name))
        assert name in commands.__all__


@pytest.mark.parametrize("name", sorted(commands.__all__))
def test_every_parameter_of_the_api_is_typed_and_documented(name):
    function = getattr(commands, name)
    parameters = inspect.signature(function).parameters.values()
    assert [p.name for p in parameters if p.annotation is inspect.Parameter.empty] == []
    documented = [p.arg_name for p in docstring_parser.parse(function.__doc__).params]
    if name in cli.COMMANDS or documented:
        assert documented == [p.name for p in parameters]


def test_every_role_can_be_chosen_on_the_command_line():
    assert set(TRAIN_ROLES) == set(MODEL_ROLES)
    assert set(MODEL_ROLES) <= set(commands.arguments_of(commands.train))
    assert set(ROLES) == {*MODEL_ROLES, "estimator"}
    assert "estimator" in inspect.signature(commands.evaluate).parameters
