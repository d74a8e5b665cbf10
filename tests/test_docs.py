"""What the documents say is what the code does."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from test_structure import ROOMS

import pyrovae
from pyrovae import cli
from pyrovae.cli.tables import filled
from pyrovae.contracts import DataSpec
from pyrovae.contracts.tables import Line
from pyrovae.evidence import ESTIMATORS
from pyrovae.likelihoods import LIKELIHOODS
from pyrovae.parts import ROLES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
TYPED = {"README.md": 14, "docs/parts.md": 8, "docs/conditional.md": 5, "docs/comparing.md": 5}
"""Pages whose commands can be typed one after the other in an empty folder, and how many there are at least."""

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)


def commands_of(page: str) -> list[str]:
    """What a page says to type, but for what belongs to a checkout (make, scripts)."""
    lines = "".join(code_blocks((ROOT / page).read_text(encoding="utf-8"), "console")).splitlines()
    return [line[2:] for line in lines if line.startswith(("$ pyrovae", "$ python"))]


@pytest.mark.parametrize("name", ["docs/parts.md", "docs/data.md", "docs/training.md"])
def test_generated_tables_are_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- generated:" in text
    assert filled(text) == text, "run make docs"


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_every_role_has_its_table() -> None:
    text = "".join((ROOT / f"docs/{page}.md").read_text(encoding="utf-8") for page in ("parts", "training"))
    assert set(re.findall(r"<!-- generated: (\w+) -->", text)) == {*ROLES, ESTIMATORS.role, "preprocessing"}
    for role, count in re.findall(r"(\d+) (likelihood|prior|posterior|network|objective)s", README):
        assert len(ROLES[count]) == int(role)


def test_the_readme_is_two_screens_and_leads_to_the_index_which_leads_to_every_page() -> None:
    assert len(README.splitlines()) <= 120
    assert "](docs/README.md)" in README
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages - set(re.findall(r"\]\(([^)#]+)\)", index)) == set()
    measured = {page.name for page in (ROOT / "benchmarks").glob("*.md")}
    assert measured - set(re.findall(r"\]\(\.\./benchmarks/([^)#]+)\)", index)) == set()


def test_the_docs_name_every_dependency_and_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs/installing.md").read_text(encoding="utf-8")
    names = [re.match(r"[a-z-]+", line)[0] for line in project["dependencies"]]
    assert names
    assert [name for name in names if not re.search(rf"^\|[^|]*\b{name}\b", page, re.MULTILINE)] == []
    assert [name for name in project["optional-dependencies"] if f"pyrovae[{name}]" not in page] == ["test"]


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_example_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = code_blocks((ROOT / page).read_text(encoding="utf-8"), "python")
    namespace: dict[str, object] = {}
    exec(compile(example, page, "exec"), namespace)
    assert "log evidence" in capsys.readouterr().out
    assert namespace["vae"].prepared


@pytest.mark.parametrize("page", PAGES)
def test_no_shell_takes_a_part_of_a_command_for_a_pattern(page: str) -> None:
    """zsh refuses ``[400]`` that is not quoted: no file has such a name."""
    lines = re.findall(r"^ *\$ (.*)", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    bare = [re.sub(r"'[^']*'|\"[^\"]*\"", "", line) for line in lines]
    assert [line for line in bare if re.search(r"[\[\]*?{}]", line)] == []


def test_the_rooms_of_the_architecture_are_those_that_imports_are_held_to() -> None:
    """Row by row: what stands together in a row is together in the list, and the rows have its order."""
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| ", page, flags=re.MULTILINE)
    rooms = [re.findall(r"`(\w+)(?:\.py|/)`", row) for row in rows]
    starts = itertools.accumulate(map(len, rooms), initial=0)
    expected = [ROOMS[start : start + len(row)] for start, row in zip(starts, rooms, strict=False)]
    assert [sorted(row) for row in rooms] == [sorted(row) for row in expected]
    assert sum(map(len, rooms)) == len(ROOMS)


def test_the_pages_show_every_command() -> None:
    shown = {shlex.split(line)[1] for page in TYPED for line in commands_of(page) if line.startswith("pyrovae")}
    assert shown - {"--print-completion"} == set(cli.COMMANDS)


@pytest.mark.parametrize("page", TYPED)
def test_the_commands_of_a_page_are_understood(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `pyrovae` line parses: the function is called (here, not run) with options that it has."""
    from pyrovae import commands

    called = []

    class Stop(Exception):  # noqa: N818
        pass

    def stand_in(**options: object) -> None:
        called.append(options)
        raise Stop

    lines = [shlex.split(line)[1:] for line in commands_of(page) if line.startswith("pyrovae")]
    for line in lines:
        if line[0] == "list" or "--config" in line or "--resume" in line:
            continue
        real = getattr(commands, line[0])
        stand_in.__doc__, stand_in.__signature__ = real.__doc__, __import__("inspect").signature(real, eval_str=True)
        stand_in.__name__ = real.__name__
        with monkeypatch.context() as patch:
            patch.setattr(commands, line[0], stand_in)
            with pytest.raises(Stop):
                cli.main(line)
    assert len(called) >= 3


def test_the_recipe_for_a_new_family_works(
    tmp_path: Path, open_tables: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CONTRIBUTING's class and table line, tried: the density is scipy's, and the command line has the new name."""
    recipe = CONTRIBUTING.partition("## Add a family")[2].partition("\n## ")[0]
    assert "Three edits" in recipe
    assert re.findall(r"^\d\. \*\*(.*?)\*\*", recipe, re.MULTILINE) == [
        "One class in one file",
        "One line in the role's table",
        "One row in `tests/cases.py`",
    ]
    source, line = (re.sub(r"^   ", "", block, flags=re.MULTILINE) for block in code_blocks(recipe, "python"))
    (tmp_path / "recipe_gumbel.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    from recipe_gumbel import Gumbel

    ((name, entry),) = eval("{" + line + "}", {"Line": Line, "Gumbel": Gumbel}).items()
    LIKELIHOODS.add(name, entry)

    density = Gumbel().build(DataSpec((2,)))
    params = torch.tensor([[0.5, -1.0], [0.0, 0.0]], dtype=torch.float64)
    x = torch.tensor([0.2, 3.0], dtype=torch.float64)
    expected = scipy.stats.gumbel_r.logpdf(x.numpy(), loc=[0.5, -1.0], scale=1.0).sum()
    np.testing.assert_allclose(density(params).log_prob(x).item(), expected, rtol=1e-12)

    monkeypatch.chdir(tmp_path)
    options = "--likelihood gumbel --epochs 1 --latent-dim 2 --network.hidden [8] --out run"
    for command in (f"train {options}", "evaluate run --samples 5 --limit 20", "list"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(command.split())
        assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert "dequantisation bound" in out
    assert "Gumbel with location m" in out

    (make_curves,) = (shlex.split(line) for line in commands_of("README.md") if "np.save('curves.npy'" in line)
    exec(make_curves[-1], {})
    for seed in range(3):
        made = pyrovae.train("curves.npy", "gumbel", latent_dim=2, epochs=5, seed=seed, out=f"curves-{seed}", progress=False)
        elbos = [row["valid_elbo"] for row in made.fit.history]
        assert np.isfinite(elbos).all()
        assert elbos[-1] > elbos[0]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), list(TYPED.items()))
def test_every_command_of_a_page_runs(page: str, least: int, tmp_path: Path) -> None:
    """In order, in one folder; then what Python the page has."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    ran = 0
    for command in commands_of(page):
        done = subprocess.run(shlex.split(command), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        ran += 1
    assert ran >= least
    for example in code_blocks((ROOT / page).read_text(encoding="utf-8"), "python"):
        words = [sys.executable, "-c", example]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_page_about_own_parts_works(
    tmp_path: Path, open_tables: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file, its Python and its commands, one after the other in an empty folder."""
    plugin, *blocks = code_blocks((ROOT / "docs/extending.md").read_text(encoding="utf-8"), "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("my_parts.py").write_text(plugin)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    x = torch.as_tensor(np.load("x.npy")[:20])
    mine, again = (names[name].eval() for name in ("mine", "again"))
    torch.testing.assert_close(mine.encode(x).mean, again.encode(x).mean, rtol=0, atol=0)
    LIKELIHOODS._lines.pop("gumbel")
    for line in commands_of("docs/extending.md"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(shlex.split(line)[1:])
        assert stopped.value.code == 0, capsys.readouterr().err
    assert "Gumbel with a location from the network" in capsys.readouterr().out
