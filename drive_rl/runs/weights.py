"""Trained networks as one safe file, and the ways to name them.

    road                 what ships: assets/<room>/road.safetensors
    FILE.safetensors     what an `export` wrote
    RUN                  a run that has trained some

The file's header says what the networks are: nothing that is loaded runs code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
from torch import Tensor

from drive_rl.data import data_folder
from drive_rl.errors import DriveRLError, UsageError, unknown
from drive_rl.runs.checkpoint import Tensors, write_atomically
from drive_rl.runs.folder import read_document
from drive_rl.specs import shipped_names

SCHEMA = 1
SUFFIX = ".safetensors"
T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind of networks that are trained in runs of their own.

    Attributes:
        name: of its runs, in run.yaml.
        room: folder of assets/ in which some ship.
        networks: what it is, in words.
        run: what a run of it is, in words.
    """

    name: str
    room: str
    networks: str
    run: str

    @property
    def header(self) -> str:
        """Key of the file's header that says what the networks are."""
        return f"drive_rl_{self.room}"

    def shipped(self) -> list[str]:
        """The names of those that ship."""
        return shipped_names(self.room, SUFFIX)

    def find(self, name: str | Path, others: Iterable[str] = ()) -> Path:
        """The file or the run's folder that a name means.

        Args:
            others: names that one could have meant, beside those that ship.

        Raises:
            UsageError: no such thing.
        """
        path, shipped = Path(name), self.shipped()
        if str(name) in shipped:
            return data_folder("assets") / self.room / f"{name}{SUFFIX}"
        if path.is_dir() or path.is_file():
            return path
        if path.name == str(name) and not path.suffix:
            raise unknown(self.networks, str(name), [*shipped, *others])
        raise UsageError(f"{self.networks} {str(name)!r}: no such run or file")

    def read_run(self, folder: Path) -> dict[str, Any]:
        """The run.yaml of a run of this kind.

        Raises:
            UsageError: there is none, or it is of another kind of run.
        """
        return read_document(folder, self.name, self.run)

    def write(self, path: Path, document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write one file, whole or not at all.

        Args:
            document: what the networks are, as plain data.

        Raises:
            UsageError: it has another ending, or cannot be written.
        """
        if path.suffix != SUFFIX:
            raise UsageError(f"{path}: the file's name must end in {SUFFIX}")
        header = {self.header: json.dumps({"schema": SCHEMA, **document})}
        plain = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, safetensors.torch.save(plain, header))
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror})") from None

    def read(self, path: Path, build: Callable[[dict[str, Any], Tensors], T]) -> T:
        """What `build` makes of a file's document and tensors.

        Raises:
            UsageError: it holds something else.
            DriveRLError: it is damaged.
        """
        try:
            with safetensors.safe_open(str(path), framework="pt") as file:
                document = json.loads((file.metadata() or {})[self.header])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if document["schema"] != SCHEMA:
                raise UsageError(
                    f"{path} has schema {document['schema']}; this version reads {SCHEMA}"
                )
            return build(document, tensors)
        except UsageError:
            raise
        except KeyError:
            raise UsageError(f"{path} holds no {self.networks}") from None
        except (OSError, ValueError, TypeError, RecursionError, safetensors.SafetensorError) as bad:
            reason = " ".join(str(bad).split())[:120]
            raise DriveRLError(f"{path} is damaged or no safetensors file ({reason})") from None
