"""CelebA."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from pyrovae.contracts import Attribute, DataSpec
from pyrovae.data.dataset import Dataset
from pyrovae.data.downloads import fetching, reading
from pyrovae.data.source import Source
from pyrovae.data.splitting import PARTS
from pyrovae.errors import UserError, check_integer

if TYPE_CHECKING:
    from PIL import Image
    from torchvision import datasets

IMAGES = "img_align_celeba"
ALIGNED, CROP, PIXELS = (178, 218), 148, 64


@final
@dataclass(frozen=True, kw_only=True)
class CelebA(Source):
    """CelebA: 202,599 faces of 10,177 people, (3, 64, 64) bytes, with 40 attributes such as Eyeglasses and Smiling.

    Aligned photographs of 178x218 pixels, their middle 148x148 scaled with antialiasing; the official training,
    validation and test images, in which nobody is twice. All of them take 2.5 GB of memory, and minutes to decode.

    Source: Liu, Luo, Wang and Tang (2015), Deep Learning Face Attributes in the Wild.

    Args:
        limit: Take at most that many images of each split, the same random ones every time; by default all.

    Raises:
        UserError: If an option is wrong.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limit is not None:
            check_integer("data.limit", self.limit, 2)

    def load(self, root: Path) -> Dataset:
        from torchvision import datasets

        from pyrovae.data.decoding import stacked

        folder = root / datasets.CelebA.base_folder
        with fetching("celeba", [name for _, _, name in datasets.CelebA.file_list], folder):
            _unpack(folder)
            # Nothing is downloaded where every list is there with its checksum, and the folder of images.
            parts = [datasets.CelebA(root, split=PARTS[0], download=True)]
        with reading("celeba", folder):
            parts += [datasets.CelebA(root, split=name) for name in PARTS[1:]]
        chosen = [self._chosen(len(part)) for part in parts]
        paths = [folder / IMAGES / part.filename[i] for part, rows in zip(parts, chosen, strict=True) for i in rows.tolist()]
        missing = next((path for path in paths if not path.is_file()), None)
        if missing is not None:
            raise UserError("data", "celeba", f"{missing} is missing", f"unpack img_align_celeba.zip again in {folder}")
        x = stacked(paths, _face, (3, PIXELS, PIXELS))
        y = torch.cat([part.attr[rows] for part, rows in zip(parts, chosen, strict=True)])
        spec = DataSpec((3, PIXELS, PIXELS), "levels", 256, attributes=_attributes(parts[0]))
        rows = torch.arange(len(x)).split([len(rows) for rows in chosen])
        return Dataset("celeba", spec, x, y, dict(zip(PARTS, rows, strict=True)))

    def _chosen(self, count: int) -> Tensor:
        if self.limit is None or self.limit >= count:
            return torch.arange(count)
        return torch.randperm(count, generator=torch.Generator().manual_seed(0))[: self.limit].sort().values


def _unpack(folder: Path) -> None:
    """Make the folder of images from the archive that is there; torchvision asks for gdown even then."""
    from torchvision import datasets
    from torchvision.datasets.utils import check_integrity, extract_archive

    checksum, archive = next((checksum, name) for _, checksum, name in datasets.CelebA.file_list if name.endswith(".zip"))
    if (folder / IMAGES).is_dir() or not check_integrity(folder / archive, checksum):
        return
    # The folder appears whole or not at all.
    with tempfile.TemporaryDirectory(dir=folder) as made:
        extract_archive(folder / archive, made)
        (Path(made) / IMAGES).replace(folder / IMAGES)


def _attributes(part: datasets.CelebA) -> tuple[Attribute, ...]:
    # The line of names ends with a space, and torchvision takes what follows it for a name.
    return tuple(Attribute(name, ("no", "yes")) for name in part.attr_names if name)


def _face(path: Path) -> Image.Image:
    from pyrovae.data.decoding import middle, upright

    image = upright(path, grey=False)
    if image.size != ALIGNED:
        raise UserError(
            "data", "celeba", f"{path} has {image.width}x{image.height} pixels, not 178x218", "unpack img_align_celeba.zip again"
        )
    return middle(image, CROP, PIXELS)
