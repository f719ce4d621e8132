"""What goes into the executables' contents directory, and the name of a build. Used by the PyInstaller spec and by the tests.

PyInstaller follows import statements. One package is kept from it, because we run a single module of it without the package around
it: pydantic_core (see cni_plugins.model.frozen). Followed, it would bring the Python half of pydantic.

A build's name is the version and a hash of all that it is made from, so that two different builds never share a directory.
"""

from __future__ import annotations

import hashlib
import marshal
import pkgutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: The packages that run in a plugin's process.
PACKAGES = ("cni_plugins", "bridge", "flannel", "multus_lite", "vxlan")

#: Modules of these packages that work at build time only; the models that they make are among the bundled modules.
MODEL_MAKERS = ("compiler", "export", "freezer", "registry", "sources", "tables", "types")
BUILD_TIME = tuple(f"cni_plugins.model.{name}" for name in MODEL_MAKERS)

#: Programs for people, and what speaks to the Kubernetes API: no other call of a plugin loads any of it.
TOOLS = (
    "cni_plugins.agent", "cni_plugins.cli", "cni_plugins.kernel.https", "multus_lite.api", "multus_lite.kubeconfig", "multus_lite.pods",
    "vxlan.leases",
)  # fmt: skip
FROZEN_MODELS = "_frozen"

#: Codecs that the interpreter itself needs before the bundle's importer runs: they stay files. UTF-8 mode is forced.
START_UP = ("encodings", "encodings.aliases", "encodings.utf_8")

#: Never needed by a plugin, but dragged in by PyInstaller or by an import that no plugin reaches.
EXCLUDED = (
    "_bz2", "_codecs_cn", "_codecs_hk", "_codecs_iso2022", "_codecs_jp", "_codecs_kr", "_codecs_tw", "_decimal", "_hashlib",
    "_lzma", "_multibytecodec", "_pydecimal", "_ssl", "_uuid", "argparse", "ast", "asyncio", "base64", "bz2", "calendar",
    "concurrent", "contextvars", "copy", "ctypes", "dataclasses", "datetime", "decimal", "email", "fnmatch",
    "fractions", "getopt", "gettext", "gzip", "hashlib", "http", "importlib.metadata", "inspect", "ipaddress", "json",
    "linecache", "locale", "logging", "lzma", "multiprocessing", "numbers", "pathlib", "pickle", "platform", "pydantic",
    "pydantic_core", "pyroute2", "quopri", "random", "selectors", "shutil", "socket", "string", "stringprep", "struct",
    "subprocess", "tarfile", "tempfile", "textwrap", "threading", "token", "tokenize", "typing", "typing_extensions",
    "unicodedata", "unittest", "urllib", "uuid", "zipfile", "zlib",
)  # fmt: skip

#: Never needed by the programs for people.
NOT_IN_TOOLS = (
    "_pydecimal", "doctest", "lib2to3", "multiprocessing", "pydoc", "pyroute2", "setuptools", "sqlite3",
    "tkinter", "twisted", "unittest", "xmlrpc",
)  # fmt: skip

#: What pydantic-core's compiled code imports, which PyInstaller cannot see.
INVISIBLE = ("types",)

Entry = tuple[str, str, str]
"""PyInstaller's: path in the contents directory, source, kind."""


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Every file that a build is made from, in a fixed order."""
    for package in PACKAGES:
        yield from sorted(path for path in (root / package).rglob("*.py") if path.parent.name != FROZEN_MODELS)
    yield from (root / "packaging" / name for name in ("boot.py", "builder.py", "bundle.py", "cni-plugins.spec"))
    yield root / "requirements" / "locked.txt"


def build_name(version: str, root: Path = ROOT) -> str:
    """The name of the build that these sources make with this interpreter, such as `0.1.0-1f2e3d4c5b`."""
    digest = hashlib.sha256(f"{sys.version} {sysconfig.get_platform()}".encode())
    for path in sources(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root)}\0{len(content)}\0".encode() + content)
    return f"{version}-{digest.hexdigest()[:10]}"


def run_time_modules() -> list[str]:
    """The modules that a plugin may import and PyInstaller cannot find: ours (plugins are found by name), and `INVISIBLE`."""
    return [*(name for name in _our_modules() if not _is_in(name, BUILD_TIME + TOOLS)), *INVISIBLE]


def tool_modules() -> list[str]:
    """Our modules that only the programs for people import."""
    return [name for name in _our_modules() if _is_in(name, TOOLS)]


def _our_modules() -> Iterator[str]:
    for package in PACKAGES:
        yield package
        yield from (found.name for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."))


def _is_in(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def pydantic_core_extension() -> tuple[str, str]:
    """The compiled half of pydantic: (its file, the directory that it has in the bundle)."""
    package = _package_directory("pydantic_core")
    (file,) = (path for suffix in EXTENSION_SUFFIXES for path in package.glob(f"_pydantic_core{suffix}"))
    return str(file), "pydantic_core"


def _package_directory(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def write_modules(
    target: Path,
    *,
    datas: Iterable[Entry],
    binaries: Iterable[Entry],
    less: Iterable[Entry] = (),
) -> list[Entry]:
    """Write a bundle's modules into one file (its form: see boot.py) and return the data files that stay files.

    datas: PyInstaller's data files, among them a .pyc for each module; binaries: its shared libraries and extensions; less: data files
    of a bundle that is there beside this one. Only the second bundle has codecs: the plugins work in UTF-8.
    """
    modules = {}
    others = {entry[0] for entry in less}
    rest = []
    for entry in datas:
        path = Path(entry[0])
        is_package = path.stem == "__init__"
        name = ".".join(path.parent.parts if is_package else path.with_suffix("").parts)
        if name in START_UP or path.suffix != ".pyc":
            rest.append(entry)
        elif bool(others) if name.startswith("encodings.") else entry[0] not in others:
            modules[name] = (is_package, Path(entry[1]).read_bytes()[16:])  # what comes first is a magic number and a date
    index: dict[str, tuple[bool, int, int]] = {}
    code = bytearray()
    for name, (is_package, compiled) in sorted(modules.items()):
        index[name] = (is_package, len(code), len(compiled))
        code += compiled
    extensions = {_extension_name(file): file for file, _, _ in sorted(binaries) if file.endswith(tuple(EXTENSION_SUFFIXES))}
    head = marshal.dumps((index, extensions))
    target.write_bytes(len(head).to_bytes(4, "little") + head + code)
    return [*rest, (target.name, str(target), "DATA")]


def _extension_name(file: str) -> str:
    """The module that an extension's file holds: PyInstaller puts Python's own into a folder `lib-dynload`."""
    return file.partition("/lib-dynload/")[2].partition(".")[0] or file.partition(".")[0].replace("/", ".")
