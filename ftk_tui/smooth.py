"""Keeps the event loop smooth while a thread imports torch, loads a model and compiles it.

Three things hold the interpreter for a tenth of a second and more, so that no key is answered meanwhile:

- **Loading a large shared library.** Python's import keeps the interpreter locked while the system maps 400 MB and
  relocates them. A foreign function call does not, so the libraries are loaded by one, just before torch is imported;
  the import then finds them loaded.
- **Full passes of the garbage collector.** They look at every object there is; those modules bring half a million,
  and imports bring about several passes. While modules are being imported there are none, and what the modules
  brought is left out of those that follow: it lasts as long as the process anyway.
- **Python in other threads.** Each thread that computes in Python gives the interpreter up after 5 ms only, and where
  two or three do, the event loop waits for all of them, in the middle of its work too. In the app they do so after a
  fifth of a millisecond, and the loop may finish what it does: 99 % of the gaps of a 10 ms timer while a model is
  loaded and compiled fell from 31 ms to 17 to 19. The longest are single calls that nobody can split: a tokenizer read
  (70 ms with 50 000 tokens), a table of names that grows while modules are imported (45 ms).
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_NEVER = 1 << 30
_MANY = 50
"""Modules that come within a second where something large is being imported; a screen of ours brings fewer."""
_TURN_S, _OWN_TURN_S = 0.0002, 0.02
"""How long a thread keeps the interpreter while the event loop wants it, and the loop while a thread wants it."""
_LIBRARIES = (
    ("libtorch_global_deps.so", os.RTLD_GLOBAL if hasattr(os, "RTLD_GLOBAL") else 0),
    ("libc10.so", 0),
    ("libtorch_cpu.so", 0),
    ("libtorch_cuda.so", 0),
)
"""What torch loads when it is imported, in its order; a build for CPUs has no last one."""


class Loader(MetaPathFinder):
    """Finds nothing, but loads torch's libraries when torch is looked for, without keeping the interpreter locked.

    Args:
        begins: Called before, in the thread that imports.

    """

    def __init__(self, begins: Callable[[], object]) -> None:
        self._begins = begins

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Load the libraries of the torch that is going to be imported."""
        if fullname == "torch" and self in sys.meta_path:
            sys.meta_path.remove(self)
            self._begins()
            found = importlib.machinery.PathFinder.find_spec(fullname, path)
            for folder in (found and found.submodule_search_locations) or ():
                load(Path(folder) / "lib")
        return None


class Turns:
    """How long a thread keeps the interpreter where another one wants it.

    Python has one such time for all threads, and it is the thread that waits which keeps to it. So it is set short
    while the event loop waits for something to happen, and long while the loop works: the loop gets its turn soon, and
    the others do not take it away again in the middle of its work, after which it would have to wait for them once
    more. That costs two calls a turn of the loop, 0.2 µs.
    """

    def __init__(self) -> None:
        self._usual = sys.getswitchinterval()
        self._selector: Any = None

    def shorten(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have an event loop get its turn soon; one that is no selector's shares it with all other threads alike."""
        short, long = min(self._usual, _TURN_S), max(self._usual, _OWN_TURN_S)
        sys.setswitchinterval(short)
        self._selector = getattr(loop, "_selector", None)
        if self._selector is None:
            return
        select = self._selector.select

        def waiting(timeout: float | None = None) -> Any:
            sys.setswitchinterval(short)
            try:
                return select(timeout)
            finally:
                sys.setswitchinterval(long)

        self._selector.select = waiting

    def leave(self) -> None:
        """Leave it as it was."""
        if self._selector is not None:
            vars(self._selector).pop("select", None)
            self._selector = None
        sys.setswitchinterval(self._usual)


def load(folder: Path) -> int:
    """Load torch's shared libraries from a folder with the interpreter unlocked; returns how many were loaded.

    One that is not there, or that cannot be loaded, is left to torch, which tells what is wrong.
    """
    system = ctypes.CDLL(None)
    system.dlopen.argtypes, system.dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
    paths = [(folder / name, mode | os.RTLD_NOW) for name, mode in _LIBRARIES]
    return sum(bool(system.dlopen(os.fsencode(path), mode)) for path, mode in paths if path.is_file())


def load_apart(begins: Callable[[], object]) -> None:
    """From now on, have torch's libraries loaded apart from its import. Does nothing where it is imported already.

    Args:
        begins: Called when the import begins, in the thread that imports.

    """
    if sys.platform == "linux" and "torch" not in sys.modules:
        sys.meta_path[:] = [Loader(begins), *(finder for finder in sys.meta_path if not isinstance(finder, Loader))]


class Collector:
    """Python's garbage collector, without full passes while modules are being imported.

    `look` is to be called about once a second, and `leave` at the end.
    """

    def __init__(self) -> None:
        self._usual = gc.get_threshold()
        self._modules = len(sys.modules)
        self._waiting = False

    def look(self) -> None:
        """Put full passes off if modules were imported since the last look, or begin with them again."""
        before, self._modules = self._modules, len(sys.modules)
        if self._modules - before >= _MANY:
            self.wait()
        elif self._modules == before and self._waiting:
            self._settle()

    def wait(self) -> None:
        """Put full passes off: something large is going to be imported."""
        self._waiting = True
        gc.set_threshold(*self._usual[:2], _NEVER)

    def leave(self) -> None:
        """Have it as it was before."""
        if self._waiting:
            self._settle()

    def _settle(self) -> None:
        self._waiting = False
        gc.collect(1)
        gc.freeze()
        gc.set_threshold(*self._usual)
