"""The first code of an executable: finds the bundled modules, then hands over to `cni_plugins.main`.

PyInstaller's own importer opens and decompresses its archive for every module and imports a dozen modules before the first
of ours; measured, it costs half of a cold VERSION and a quarter of a cold ADD. Here all modules lie in one file of the
contents directory, opened once: a plugin that runs through an upgrade goes on reading the file that it started with. What only the
programs for people need (`tools`) lies in a second one, so that plugins don't carry its index; a plugin opens it when it asks the
Kubernetes API.

Such a file is written by `bundle.write_modules`: four bytes that give the length of the index, the index, then the code objects, each
marshalled. The index is a pair of dictionaries, marshalled: modules (name -> (is a package, offset, length)), and compiled
extensions (name -> path in the contents directory).
Only names that the interpreter has built in are imported here.
"""

import gc
import posix
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType


TOOLS = ("cni-agent", "cnictl")


class Bundle:
    """Finds and loads the modules of one file in the contents directory `home`; an entry of sys.meta_path.

    Raises OSError when the file is missing or cannot be read.
    """

    __slots__ = ("code", "descriptor", "extensions", "home", "modules")

    def __init__(self, home: str, file: str) -> None:
        self.home = home
        self.descriptor = posix.open(f"{home}/{file}", posix.O_RDONLY | posix.O_CLOEXEC)
        size = int.from_bytes(posix.pread(self.descriptor, 4, 0), "little")
        self.modules: dict[str, tuple[bool, int, int]]
        self.extensions: dict[str, str]
        self.modules, self.extensions = loads(posix.pread(self.descriptor, size, 4))
        self.code = 4 + size

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The module of that name, or None if it is not in the bundle (importlib's finder protocol)."""
        if name in self.modules:
            return ModuleSpec(name, self, is_package=self.modules[name][0])  # type: ignore[arg-type]  # no subclass of Loader
        if name in self.extensions:
            file = f"{self.home}/{self.extensions[name]}"
            return ModuleSpec(name, ExtensionFileLoader(name, file), origin=file)
        return None

    def create_module(self, spec: "ModuleSpec") -> None:
        """Leave it to importlib to make the module object (importlib's loader protocol)."""

    def exec_module(self, module: "ModuleType") -> None:
        """Run the module's code (importlib's loader protocol)."""
        exec(self.get_code(module.__name__), module.__dict__)

    def get_code(self, name: str) -> "CodeType":
        """The code of a module that is not an extension (importlib's inspecting loader)."""
        _, start, size = self.modules[name]
        code: CodeType = loads(posix.pread(self.descriptor, size, self.code + start))
        return code


class Later:
    """Opens the second file when a module is looked for that is nowhere else; the last entry of sys.meta_path."""

    __slots__ = ("bundle", "home")

    def __init__(self, home: str) -> None:
        self.home = home
        self.bundle: Bundle | None = None

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        """The module of that name, or None if it is not there either (importlib's finder protocol)."""
        if self.bundle is None:
            self.bundle = Bundle(self.home, "tools")
        return self.bundle.find_spec(name, path, target)


if hasattr(sys, "_MEIPASS"):
    gc.disable()  # a call is over before collecting could pay; it takes 2 ms of an ADD
    sys.meta_path.insert(0, Bundle(sys._MEIPASS, "modules"))
    if sys.argv[0].rpartition("/")[2] in TOOLS:
        sys.meta_path.insert(1, Bundle(sys._MEIPASS, "tools"))
    else:
        sys.meta_path.append(Later(sys._MEIPASS))
    from cni_plugins.main import main

    main()
