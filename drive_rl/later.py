"""Modules that are imported when something is first asked of them, and not before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """Stands for a module until one of its attributes is wanted."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = importlib.import_module(self.__name__)
        self.__dict__.update(vars(module))
        return getattr(module, name)


@contextmanager
def imported_later(*names: str) -> Iterator[None]:
    """Within it, `import NAME` of these costs nothing; whoever imported them there loads them late.

    Args:
        names: modules that are installed; of a submodule (`a.b`), `a` is put off too.
    """
    parents = [name.rpartition(".")[0] for name in names if "." in name]
    put_off = {name: _Later(name) for name in (*parents, *names) if name not in sys.modules}
    for name, later in put_off.items():
        sys.modules[name] = later
        parent, _, child = name.rpartition(".")
        if parent in put_off:
            setattr(put_off[parent], child, later)
    try:
        yield
    finally:
        for name, later in put_off.items():
            if sys.modules.get(name) is later:
                del sys.modules[name]
