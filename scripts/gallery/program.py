"""The gallery's command line: draws pictures, prints their numbers, and writes these into a page."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from gallery.catalogue import PICTURES
from gallery.models import CONTINUES, Studio, command
from gallery.panels import png
from pyrovae.cli.spelling import with_flags
from pyrovae.errors import NOT_GIVEN, UserError, check_each_once, check_path, suggest
from pyrovae.system.door import leave
from pyrovae.system.files import check_writable, write_whole


def draw(name: str, studio: Studio, out: Path) -> str:
    """Draw one picture into PNG files; what the page says below it: its numbers and the commands of its models.

    Raises:
        UserError: If the picture is unknown, data are missing, or the files cannot be written.
    """
    if name not in PICTURES:
        raise UserError(None, name, "no such picture", suggest(name, PICTURES))
    picture = PICTURES[name]
    drawn = picture.draw(studio)
    for title, figure in drawn.figures.items():
        write_whole(out / f"{title}.png", png(figure))
    commands = "\n".join(f"$ {command(model)}" for model in ancestry(picture.models))
    return f"{drawn.text}\n\n<details><summary>The models, trained by hand</summary>\n\n```console\n{commands}\n```\n\n</details>"


def ancestry(models: Sequence[str]) -> list[str]:
    """The models, each after the one that it continues, none twice."""
    found: dict[str, None] = {}
    for model in models:
        for earlier in [*ancestry([CONTINUES[model]] if model in CONTINUES else []), model]:
            found.setdefault(earlier)
    return list(found)


def filled(page: str, name: str, text: str) -> str:
    """A page with what stands between ``<!-- gallery: NAME -->`` and ``<!-- end -->`` made anew.

    Raises:
        UserError: If the page has no such place.

    Example:
        >>> filled("a<!-- gallery: plane --> old <!-- end -->b", "plane", "new")
        'a<!-- gallery: plane -->\\nnew\\n<!-- end -->b'
    """
    pattern = rf"(<!-- gallery: {re.escape(name)} -->).*?(<!-- end -->)"
    made, count = re.subn(pattern, lambda match: f"{match[1]}\n{text}\n{match[2]}", page, flags=re.DOTALL)
    if count != 1:
        raise UserError("page", NOT_GIVEN, f"has {count} places <!-- gallery: {name} --> ... <!-- end -->", "needs one")
    return made


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Draw the pictures that are named, or all, and exit."""
    parser = argparse.ArgumentParser(description=f"Draw pictures of the gallery: {', '.join(PICTURES)}; all where none is named.")
    parser.add_argument("pictures", nargs="*", metavar="PICTURE", help="names of pictures; all where none is given")
    parser.add_argument("--data-root", help="folder of downloaded data; by default PYROVAE_DATA, or else the user's cache folder")
    parser.add_argument("--out", default="gallery", help="folder of the PNG files (default: gallery)")
    parser.add_argument("--runs", help="folder of the models (default: runs/gallery, or runs/gallery-quick)")
    parser.add_argument("--page", help="Markdown page whose marked places get the numbers; else they are printed only")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--quick", action="store_true", help="tiny models, 8x8 digits for MNIST: to see that pictures are drawn")
    given = parser.parse_args(arguments)
    leave(lambda: _draw_all(given), "gallery", spell=with_flags)


def _draw_all(given: argparse.Namespace) -> None:
    out = check_path("out", given.out, "a folder")
    check_writable(out, "--out")
    runs = given.runs if given.runs is not None else "runs/gallery-quick" if given.quick else "runs/gallery"
    runs = check_path("runs", runs, "a folder")
    page_file = None if given.page is None else check_path("page", given.page, "a Markdown file")
    studio = Studio(runs=runs, data_root=given.data_root, quick=given.quick, device=given.device)
    check_each_once("pictures", given.pictures)
    for name in given.pictures:
        if name not in PICTURES:
            raise UserError(None, name, "no such picture", suggest(name, PICTURES))
    for name in given.pictures or PICTURES:
        began = time.perf_counter()
        text = draw(name, studio, out)
        if page_file is not None:
            page = filled(page_file.read_text(encoding="utf-8"), name, text)
            write_whole(page_file, page.encode())
        numbers = text.partition("\n\n<details>")[0]
        print(f"{name}: {time.perf_counter() - began:.0f} s\n\n{numbers}\n", flush=True)
