"""Good and bad files and runs: the world that bad input meets."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

TRAP = "pwned"


class Trap:
    """Whoever unpickles it makes a folder."""

    def __reduce__(self):
        return Path.mkdir, (Path(TRAP),)


def write_arrays(folder: Path) -> None:
    """Good and bad data. Values that messages must show are 0.5, 7 and 99; all the rest are in range."""
    random = np.random.default_rng(0)
    reals = random.normal(size=(30, 4))
    reals[0, 0] = 0.5
    counts = random.integers(0, 4, (30, 4))
    counts[2, 1] = 7
    broken = reals.copy()
    broken[3, 1], broken[5, 2] = np.nan, np.inf
    pictures = random.integers(0, 17, (30, 8, 8))
    pictures[0, 0, 0] = 16
    bright = pictures.copy()
    bright[4, 3, 2] = 99
    arrays = {
        "reals": reals,
        "negative": -np.abs(reals),
        "counts": counts,
        "bytes": np.append(counts, counts * 50, axis=0).astype("uint8"),
        "bits": counts % 2,
        "broken": broken,
        "infinite": np.where(np.isnan(broken), 0, broken),
        "huge": np.where(reals == 0.5, 1e300, reals),
        "one_row": reals[:1],
        "no_rows": reals[:0],
        "no_numbers": reals[:, :0],
        "flat": reals[:, 0],
        "complex": reals + 1j,
        "words": np.full((30, 2), "word"),
        "objects": np.array([[Trap(), 1.0]] * 30, dtype=object),
        "pictures": pictures,
        "other_pictures": pictures[::-1],
        "bright": bright,
        "real_pictures": pictures + 0.5,
        "large_pictures": np.zeros((30, 9, 9), dtype=int),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=True)
    np.savez(folder / "no_test.npz", train=reals)
    np.savez(folder / "mismatch.npz", train=reals, test=reals[:, :3])
    np.savez(folder / "other_names.npz", images=reals)
    np.savez(folder / "few_labels.npz", x=reals, y=np.zeros(3))
    np.savez(folder / "object_labels.npz", x=reals, y=np.array([Trap()] * 30, dtype=object))
    labels = np.repeat(["cat", "dog"], 15)
    np.savez(folder / "labelled.npz", x=reals, y=labels)
    np.savez(folder / "unseen.npz", x=reals, y=np.where(np.arange(30) == 3, "emu", labels))
    np.savez(folder / "cats.npz", x=reals, y=labels[:15].repeat(2))
    np.savez(folder / "rare.npz", train=reals, y_train=labels, test=reals, y_test=np.repeat(["cat", "emu"], 15))
    (folder / "word.csv").write_text("a,b\n1,2\n3,much\n5,6\n")
    for name, size in (("first", (8, 8)), ("second", (9, 8))):
        (folder / "uneven").mkdir(exist_ok=True)
        Image.new("L", size).save(folder / "uneven" / f"{name}.png")
    (folder / "cut.npy").write_bytes((folder / "reals.npy").read_bytes()[:200])
    (folder / "empty.npy").write_bytes(b"")
    for name in ("notes.txt", "notes.npy", "notes.npz", "table.csv"):
        (folder / name).write_text("some text\n1, 2\n")
    for name in ("good", "list", "tag"):
        (folder / f"{name}.yaml").write_text(
            {"good": "latent_dim: 3\n", "list": "- 1\n- 2\n", "tag": f"seed: !!python/object/apply:os.mkdir [{TRAP}]\n"}[name]
        )


def cut(run: Path) -> None:
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[: len(content) // 2])


def flip(run: Path) -> None:
    content = bytearray((run / "model.safetensors").read_bytes())
    content[-9] ^= 1
    (run / "model.safetensors").write_bytes(content)


def flip_state(run: Path) -> None:
    content = bytearray((run / "training_state/state.safetensors").read_bytes())
    content[-9] ^= 1
    (run / "training_state/state.safetensors").write_bytes(content)


def edited(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(run: Path) -> None:
        config = yaml.safe_load((run / "config.yaml").read_text())
        change(config)
        (run / "config.yaml").write_text(yaml.safe_dump(config))

    return edit


def replaced(file: str, content: bytes) -> Callable[[Path], None]:
    def replace(run: Path) -> None:
        (run / file).write_bytes(content)

    return replace


DAMAGE: dict[str, Callable[[Path], object]] = {
    "good": lambda run: None,
    "cut": cut,
    "flipped": flip,
    "flipped_state": flip_state,
    "no_model": lambda run: (run / "model.safetensors").unlink(),
    "pickled": replaced("model.safetensors", pickle.dumps(Trap())),
    "no_config": lambda run: (run / "config.yaml").unlink(),
    "garbage": replaced("config.yaml", bytes(range(256))),
    "not_yaml": replaced("config.yaml", b"a: [1,\nb: }\n"),
    "a_list": replaced("config.yaml", b"- 1\n"),
    "empty": replaced("config.yaml", b""),
    "tag": replaced("config.yaml", f"run: !!python/object/apply:os.mkdir [{TRAP}]\n".encode()),
    "newer": edited(lambda config: config["run"].update(format=99, pyrovae="77.0")),
    "unknown_family": edited(lambda config: config["likelihood"].update(name="bernouli")),
    "unknown_option": edited(lambda config: config["network"].update(widths=[3])),
    "wrong_option": edited(lambda config: config["network"].update(hidden=7)),
    "wrong_shape": edited(lambda config: config["run"]["data"].update(event_shape=8)),
    "wrong_kind": edited(lambda config: config["run"]["data"].update(kind="pictures")),
    "wrong_data": edited(lambda config: config["run"].update(data=["digits"])),
    "no_latent_dim": edited(lambda config: config.pop("latent_dim")),
    "other_latent_dim": edited(lambda config: config.update(latent_dim=3)),
    "other_data": edited(lambda config: config["run"]["data"].update(sha256="0" * 64)),
    "bad_metrics": replaced("metrics.csv", b"epoch,loss\n1,abc\n"),
}
