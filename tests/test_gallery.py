"""The gallery: every picture drawn in small, its measures beside scipy's, its page beside its table."""

from __future__ import annotations

import inspect
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import torch
from gallery import measures, panels, program
from gallery.catalogue import PICTURES
from gallery.components import principal_angles
from gallery.faces import answered, difference, same_person
from gallery.models import CONTINUES, MODELS, RECORD, Studio, command
from PIL import Image

from pyrovae import cli, commands
from pyrovae.contracts import Attribute, DataSpec
from pyrovae.data import Dataset
from pyrovae.errors import UserError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
IMAGES = ROOT / "docs" / "images" / "gallery"
LARGEST_FILE, LARGEST_SUM = 150_000, 2_500_000


@pytest.fixture(scope="module")
def data_root(tmp_path_factory) -> Path:
    """Faces of 12 people, two photographs each: blobs, and a bar over the eyes of every other person."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    subject = np.repeat(np.arange(12), 2)
    glasses = subject % 2
    i, j = np.mgrid[:64, :64]
    images = []
    for person, worn in zip(subject, glasses, strict=True):
        face = 60 + 100 * np.exp(-((i - 32) ** 2 + (j - 24 - person) ** 2) / 400)
        images.append(np.where(worn & (abs(i - 24) < 3), 10, face) + random.uniform(0, 20, (64, 64)))
    (root / "olivetti").mkdir()
    arrays = {"images": np.stack(images).astype(np.uint8), "subject": subject, "glasses": glasses}
    np.savez(root / "olivetti" / "olivetti.npz", **arrays)
    return root


@pytest.fixture(scope="module")
def studio(tmp_path_factory, data_root) -> Studio:
    """The gallery's models in small, shared by the tests."""
    return Studio(runs=tmp_path_factory.mktemp("gallery"), data_root=str(data_root), quick=True, device="cpu", progress=False)


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn(studio, tmp_path, name):
    text = program.draw(name, studio, tmp_path)
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(set(re.findall(rf"images/gallery/({name}[a-z-]*\.png)", PAGE)))
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert 300 < image.width < 2000
            assert 100 < image.height < 2000
            grey = np.asarray(image.convert("L"), dtype=float)
        assert grey.std() > 5, f"{path.name} is blank"
    table = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    assert len(table) >= 3
    assert len({len(line) for line in table}) == 1
    assert "nan" not in text.partition("<details>")[0].lower().split()


def test_a_model_is_trained_once_and_again_when_its_options_change(studio, tmp_path):
    own = Studio(runs=tmp_path, quick=True, device="cpu", progress=False)
    weights = own.folder("vae-2") / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert own.folder("vae-2") / "model.safetensors" == weights
    assert weights.stat().st_mtime_ns == written
    (own.folder("vae-2") / RECORD).write_text("{}")
    own.folder("vae-2")
    assert weights.stat().st_mtime_ns > written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vae-2"]


def test_what_is_not_the_gallerys_is_left_alone(tmp_path):
    (tmp_path / "vae-2").mkdir()
    (tmp_path / "vae-2" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="is no model of the gallery"):
        Studio(runs=tmp_path, quick=True, device="cpu", progress=False).folder("vae-2")
    assert (tmp_path / "vae-2" / "thesis.txt").read_text() == "mine"


def test_a_model_that_continues_another_has_its_history_and_more(studio):
    from pyrovae.runs.folder import read_metrics

    histories = [read_metrics(studio.folder(name)) for name in ("vae-20-after-1", "vae-20-after-5", "vae-20")]
    losses = [[row["loss"] for row in history] for history in histories]
    assert losses[1][: len(losses[0])] == losses[0]
    assert losses[2][: len(losses[1])] == losses[1]
    assert len(losses[0]) < len(losses[1]) < len(losses[2])


def test_the_commands_train_the_models_that_are_shown(monkeypatch):
    """Each line parses to the options of the table; what it leaves out is a default of ``train``."""
    called = []

    class Stop(Exception):  # noqa: N818
        pass

    def stand_in(**options: object) -> None:
        called.append(options)
        raise Stop

    stand_in.__doc__, stand_in.__name__ = commands.train.__doc__, "train"
    stand_in.__signature__ = inspect.signature(commands.train, eval_str=True)
    monkeypatch.setattr(commands, "train", stand_in)
    for name in MODELS.keys() - CONTINUES:
        with pytest.raises(Stop):
            cli.main(shlex.split(command(name))[1:])
        given = called.pop()
        assert given["out"] == f"runs/gallery/{name}"
        for key, wanted in MODELS[name].items():
            found = given[key]
            if isinstance(found, dict):
                wanted = wanted if isinstance(wanted, dict) else {"name": wanted}
                found = {option: found[option] for option in wanted}
            assert found == wanted, (name, key)


@pytest.mark.parametrize(
    ("line", "starts"),
    [
        (["--out", ""], "--out '': needs a folder"),
        (["--runs", ""], "--runs '': needs a folder"),
        (["--page", ""], "--page '': needs a Markdown file"),
        (["plane", "plane"], "--pictures plane: given twice"),
    ],
)
def test_the_door_refuses_what_is_said_not_at_all_or_twice(capsys, here, line, starts):
    with pytest.raises(SystemExit) as stopped:
        program.main(line)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"gallery: error: {starts}")
    assert list(here.iterdir()) == []


# --- the page ---------------------------------------------------------------------------------------------------------


def test_every_picture_of_the_page_has_its_command_and_its_numbers():
    for name, picture in PICTURES.items():
        place = re.search(rf"<!-- gallery: {name} -->\n(.*?)\n<!-- end -->", PAGE, re.DOTALL)
        assert place is not None, name
        assert f"$ python scripts/gallery.py {name} " in PAGE
        assert [model for model in picture.models if f"$ {command(model)}" not in place[1]] == [], f"{name}: run make gallery"


def test_the_pages_pictures_are_there_and_small():
    shown = set(re.findall(r"images/gallery/([a-z-]+\.png)", PAGE))
    there = {path.name: path.stat().st_size for path in IMAGES.iterdir()}
    assert shown == there.keys()
    assert max(there.values()) < LARGEST_FILE
    assert sum(there.values()) < LARGEST_SUM


def test_the_page_is_filled_where_it_is_marked_and_nowhere_else():
    page = "before <!-- gallery: a --> old <!-- end --> <!-- gallery: b -->kept<!-- end -->"
    made = program.filled(page, "a", r"new \1")
    assert made == "before <!-- gallery: a -->\nnew \\1\n<!-- end --> <!-- gallery: b -->kept<!-- end -->"
    with pytest.raises(UserError, match="0 places"):
        program.filled(page, "c", "new")


def test_the_door_names_the_pictures_that_there_are(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["plain", "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("gallery: error: plain: no such picture; did you mean plane?")


# --- what is measured ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tilt", [1.0, 1e-2, 1e-6])
def test_principal_angles_are_scipys(tilt):
    random = np.random.default_rng(1)
    first, noise = random.normal(size=(2, 30, 4))
    second = (first + tilt * noise) @ random.normal(size=(4, 4))
    found = principal_angles(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(found, np.rad2deg(scipy.linalg.subspace_angles(first, second)), rtol=1e-6, atol=1e-12)


def test_cells_count_what_lies_in_them():
    points = torch.from_numpy(np.random.default_rng(2).normal(size=(400, 2)) * [1.0, 5.0] + [3.0, 0.0])
    centres, counts = measures.cells(points, 7)
    expected, x, y = np.histogram2d(*points.numpy().T, bins=7)
    np.testing.assert_array_equal(counts, expected.T[::-1])
    np.testing.assert_allclose(centres[0, :, 0], (x[1:] + x[:-1]) / 2)
    np.testing.assert_allclose(centres[:, 0, 1], ((y[1:] + y[:-1]) / 2)[::-1])


def test_the_nearest_is_scipys():
    random = np.random.default_rng(3)
    data, queries = random.normal(size=(300, 2, 3)), random.normal(size=(70, 2, 3))
    distance, row = measures.nearest(torch.from_numpy(queries), torch.from_numpy(data), rows=32)
    expected = scipy.spatial.cKDTree(data.reshape(300, 6)).query(queries.reshape(70, 6))
    np.testing.assert_allclose(distance, expected[0])
    np.testing.assert_array_equal(row, expected[1])


def test_the_same_person_is_the_nearest_other_photograph():
    place = torch.tensor([0.0, 1.0, 10.0, 11.0, 30.0, 31.0]).reshape(-1, 1, 1)
    subject = torch.tensor([0, 0, 1, 1, 2, 2])
    assert same_person(place, place, subject) == 1.0
    moved = place.clone()
    moved[0] = 9.0  # nearest to the second person's
    assert same_person(moved, place, subject) == pytest.approx(5 / 6)


def test_an_unknown_answer_is_neither_yes_nor_no():
    labels = (Attribute("subject", ("0", "1")), Attribute("glasses", ("no", "yes", "unknown")), Attribute("smile", ("no", "yes")))
    y = torch.tensor([[0, 1, 0], [1, 2, 1], [0, 0, 0], [1, 2, 1]])
    x = torch.arange(4.0).reshape(4, 1)
    dataset = Dataset("toy", DataSpec((1,), attributes=labels), x, y, {"train": torch.arange(4)})
    known = answered(dataset, dataset.train, "glasses")
    assert (known.index.tolist(), known.x.flatten().tolist(), known.y.tolist()) == ([0, 2], [0, 2], y[[0, 2]].tolist())
    assert len(answered(dataset, dataset.train, "smile")) == 4


def test_the_accuracy_of_the_classifier_stands_beside_that_of_the_commoner_answer(studio):
    text = PICTURES["faces"].draw(studio).text
    worn, people = int(re.search(r"(\d+) with glasses", text)[1]), int(re.search(r"(\d+) photographs", text)[1])
    share = re.search(r"who always gives the commoner answer is right on (\d+)%", text)
    assert int(share[1]) == round(100 * max(worn, people - worn) / people)
    of_the_page = re.search(r"(\d+) photographs of .* (\d+) with glasses.*commoner answer is right on (\d+)%", PAGE)
    assert [int(number) for number in of_the_page.groups()] == [100, 34, 66]


def test_the_difference_is_of_the_two_means():
    z = torch.tensor([[0.0, 0.0], [2.0, 4.0], [10.0, 1.0]])
    assert difference(z, torch.tensor([False, False, True])).tolist() == [9.0, -1.0]


def test_a_png_keeps_the_colours_of_its_points():
    figure = panels.Figure(figsize=(3, 3))
    places = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    panels.scatter(figure.add_subplot(), places, torch.arange(300) % 10, size=30)
    with Image.open(io.BytesIO(panels.png(figure))) as image:
        colours = np.asarray(image.convert("RGB"), dtype=float).reshape(-1, 3)
    for code in panels.CLASS_COLOURS:
        # Points are drawn at 70% of their colour on white, and two greens may become one.
        wanted = 255 - 0.7 * (255 - np.asarray([int(code[k : k + 2], 16) for k in (1, 3, 5)]))
        assert np.abs(colours - wanted).max(1).min() < 20, code
