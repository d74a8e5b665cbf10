"""The table of the gallery's pictures: name -> what draws it and the models that it shows."""

from __future__ import annotations

from gallery import components, densities, paths, planes, sizes, structure
from gallery.faces import faces
from gallery.measures import Picture

PICTURES: dict[str, Picture] = {
    "plane": Picture(draw=planes.plane, models=tuple(planes.PLANES)),
    "terms": Picture(draw=planes.terms, models=tuple(planes.TERMS)),
    "sizes": Picture(draw=sizes.sizes, models=tuple(f"{kind}-{size}" for kind in sizes.KINDS for size in sizes.SIZES)),
    "overcomplete": Picture(draw=sizes.overcomplete, models=("linear-20", "linear-1000")),
    "likelihoods": Picture(draw=densities.likelihoods, models=tuple(densities.LIKELIHOODS)),
    "interpolation": Picture(draw=paths.interpolation, models=("autoencoder-20", "vae-20")),
    "faces": Picture(draw=faces, models=("faces",)),
    "components": Picture(draw=components.components, models=tuple(components.MODELS)),
    "training": Picture(draw=paths.training, models=tuple(paths.STAGES)),
    "structure": Picture(draw=structure.structure, models=tuple(structure.MODELS)),
    "labels": Picture(draw=paths.labels, models=("label-8",)),
}
