#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build message packages for rclpy with nothing but this Python and g++.

Takes folders with a package.xml and msg/*.msg, runs the rosidl generators that come with the ROS wheels, links each
package into one extension module and installs it beside the wheels. Needs neither CMake nor ament nor colcon. Messages
only (no services, no actions, no C++ interface), for rmw_fastrtps_cpp. A package that another installation already
provides is left alone; a package whose inputs did not change is not built again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

WHEELS = Path(sys.prefix)
GENERATORS = (
    "rosidl_generator_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_introspection_c",
)
TYPESUPPORT = "rosidl_typesupport_c"
RUNTIME_LIBRARIES = (
    *("rosidl_runtime_c", "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_fastrtps_cpp"),
    *("rosidl_typesupport_introspection_c", "rosidl_dynamic_typesupport", "rmw", "rcutils", "fastcdr"),
)
# The handle that rclpy takes; the middleware asks it for its own kind of type support by identifier.
DISPATCH_HEAD = """#include <cstring>
#include <initializer_list>
#include "rosidl_runtime_c/message_type_support_struct.h"
#include "rosidl_typesupport_interface/macros.h"
typedef rosidl_message_type_support_t Handle;
"""
DISPATCH_MESSAGE = """
extern "C" const Handle * ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(
  rosidl_typesupport_fastrtps_c, {package}, msg, {message})();
extern "C" const Handle * ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(
  rosidl_typesupport_introspection_c, {package}, msg, {message})();
static const Handle * find_{message}(const Handle * self, const char * identifier)
{{
  const Handle * fast = ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(
    rosidl_typesupport_fastrtps_c, {package}, msg, {message})();
  const Handle * introspection = ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(
    rosidl_typesupport_introspection_c, {package}, msg, {message})();
  for (const Handle * handle : {{self, fast, introspection}}) {{
    if (!std::strcmp(handle->typesupport_identifier, identifier)) {{return handle;}}
  }}
  return nullptr;
}}
extern "C" __attribute__((visibility("default"))) const Handle *
ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(rosidl_typesupport_c, {package}, msg, {message})()
{{
  static const Handle handle = [] {{
    Handle copy = *ROSIDL_TYPESUPPORT_INTERFACE__MESSAGE_SYMBOL_NAME(
      rosidl_typesupport_fastrtps_c, {package}, msg, {message})();
    copy.typesupport_identifier = "rosidl_typesupport_c";
    copy.data = nullptr;
    copy.func = find_{message};
    return copy;
  }}();
  return &handle;
}}
"""


class BuildError(RuntimeError):
    """A reason that the user can act on, in one line."""


@dataclass(frozen=True)
class Package:
    """One interface package: where it is, what it is called, what it holds."""

    folder: Path
    name: str
    messages: tuple[str, ...]
    dependencies: tuple[str, ...]


def read_package(folder: Path) -> Package:
    """Read a package's name, messages and dependencies (followed through) from its folder."""
    manifest = folder / "package.xml"
    messages = tuple(sorted(path.stem for path in (folder / "msg").glob("*.msg")))
    if not manifest.is_file() or not messages:
        raise BuildError(f"{folder}: expected package.xml and msg/*.msg")
    found: list[str] = []
    pending = [manifest]
    while pending:
        for element in ElementTree.parse(pending.pop()).findall("depend"):
            name = (element.text or "").strip()
            share = WHEELS / "share" / name
            if name in found or (name and not share.is_dir()):
                if not share.is_dir():
                    raise BuildError(f"{folder.name} needs {name}, which is not installed in {WHEELS}")
                continue
            found.append(name)
            pending.append(share / "package.xml")
    name = ElementTree.parse(manifest).findtext("name", "").strip()
    return Package(folder.resolve(), name, messages, tuple(found))


def content_stamp(package: Package) -> str:
    """Hash everything that the result depends on: messages, this script, Python and the generators' versions."""
    digest = hashlib.sha256()
    inputs = [package.folder / "package.xml", Path(__file__)]
    inputs += [package.folder / "msg" / f"{message}.msg" for message in package.messages]
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    versions = [importlib.metadata.version(f"ros-{name.replace('_', '-')}") for name in GENERATORS]
    digest.update("|".join([sys.version, *versions]).encode())
    return digest.hexdigest()


def check_tools() -> None:
    """Raise BuildError naming the fix if the generators, the compiler or Python's headers are missing."""
    for generator in (*GENERATORS, "rosidl_generator_py", "rosidl_adapter"):
        if importlib.util.find_spec(generator) is None:
            raise BuildError(f"{generator} is not installed in {WHEELS}; pip install -r requirements/ros.txt")
    if shutil.which("g++") is None:
        raise BuildError("g++ was not found; install it (Debian, Ubuntu: apt-get install g++)")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise BuildError(f"{header} was not found; install it (Debian, Ubuntu: apt-get install python3-dev)")


def generate(package: Package, build: Path) -> None:
    """Write idl, type hashes (share/) and the C, C++ and Python sources of a package under `build`."""
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c import generate_c as generate_structs
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
    from rosidl_typesupport_introspection_c import generate_c as generate_introspection

    share = build / "share" / package.name
    (share / "msg").mkdir(parents=True)
    shutil.copy(package.folder / "package.xml", share)
    for message in package.messages:
        relative = Path("msg", f"{message}.msg")
        shutil.copy(package.folder / relative, share / relative)
        convert_msg_to_idl(share, package.name, relative, share / "msg")
    arguments = {
        "package_name": package.name,
        "idl_tuples": [f"{share}:msg/{message}.idl" for message in package.messages],
        "include_paths": [f"{name}:{WHEELS / 'share' / name}" for name in package.dependencies],
        "ros_interface_files": [str(share / "msg" / f"{message}.msg") for message in package.messages],
        "type_description_tuples": [f"msg/{message}.idl:{share}/msg/{message}.json" for message in package.messages],
        "ros_interface_dependencies": [],
        "target_dependencies": [],
    }

    def arguments_for(generator: str, output: Path) -> str:
        template_dir = str(WHEELS / "share" / generator / "resource")
        path = build / f"{generator}.json"
        path.write_text(json.dumps({**arguments, "output_dir": str(output), "template_dir": template_dir}))
        return str(path)

    generate_type_hash(arguments_for("rosidl_generator_type_description", share))
    steps = (generate_structs, generate_typesupport_fastrtps_c, generate_introspection)
    for generator, step in zip(GENERATORS, steps, strict=True):
        output = build / generator / package.name
        step(arguments_for(generator, output))
        write_visibility_header(package.name, generator, output / "msg")
    generate_py(arguments_for("rosidl_generator_py", build / "python" / package.name), [TYPESUPPORT])
    (build / "python" / package.name / "__init__.py").touch()
    bodies = [DISPATCH_MESSAGE.format(package=package.name, message=message) for message in package.messages]
    (build / "dispatch.cpp").write_text(DISPATCH_HEAD + "".join(bodies))


def write_visibility_header(package_name: str, generator: str, folder: Path) -> None:
    """Fill in a generator's visibility header, which CMake would otherwise configure."""
    template = WHEELS / "share" / generator / "resource" / f"{generator}__visibility_control.h.in"
    text = template.read_text().replace("@PROJECT_NAME_UPPER@", package_name.upper())
    (folder / template.stem).write_text(text.replace("@PROJECT_NAME@", package_name))


def run_compiler(arguments: list[str]) -> None:
    """Run g++; raise BuildError with its first error line if it fails."""
    result = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "error" in line] or ["no message"]
        raise BuildError(f"g++ failed: {lines[0].strip()}")


def build_extension(package: Package, build: Path, library: Path) -> None:
    """Compile every generated source and link them into one extension module."""
    import numpy as np

    include_dirs = [build / generator for generator in GENERATORS]
    include_dirs += sorted(path for path in (WHEELS / "include").iterdir() if path.is_dir())
    include_dirs += [WHEELS / "include", Path(sysconfig.get_path("include")), Path(np.get_include())]
    includes = [f"-I{path}" for path in include_dirs]
    sources = sorted(path for path in build.rglob("*.c*") if path.suffix in (".c", ".cpp"))

    def compile_one(index_and_source: tuple[int, Path]) -> str:
        index, source = index_and_source
        language = ["-x", "c", "-std=gnu11"] if source.suffix == ".c" else ["-std=c++17"]
        output = build / f"{index}.o"
        run_compiler(["-O1", "-w", "-fPIC", *includes, *language, "-c", str(source), "-o", str(output)])
        return str(output)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, enumerate(sources)))
    kinds = ("rosidl_generator_c", "rosidl_generator_py", *GENERATORS[1:])
    libraries = [f"-l{name}__{kind}" for name in package.dependencies for kind in kinds]
    libraries += [f"-l{name}" for name in RUNTIME_LIBRARIES]
    search = [f"-L{WHEELS / 'lib'}", f"-Wl,-rpath,{WHEELS / 'lib'}", "-Wl,-rpath-link," + str(WHEELS / "lib")]
    run_compiler(["-shared", "-Wl,--as-needed", "-o", str(library), *objects, *search, *libraries])


def install(package: Package, build: Path, prefix: Path, site_packages: Path) -> None:
    """Copy the built package and its ament index markers into the prefix."""
    source = build / "python" / package.name
    (source / "py.typed").touch()
    for target, origin in ((site_packages / package.name, source), (prefix / "share" / package.name, None)):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(origin or build / "share" / package.name, target, ignore=shutil.ignore_patterns("*.c"))
    index = prefix / "share" / "ament_index" / "resource_index"
    interfaces = [f"msg/{name}.{suffix}" for name in package.messages for suffix in ("idl", "msg")]
    for kind, content in (("packages", ""), ("rosidl_interfaces", "\n".join(interfaces))):
        (index / kind).mkdir(parents=True, exist_ok=True)
        (index / kind / package.name).write_text(content)


def build_package(folder: Path, prefix: Path, site_packages: Path) -> None:
    """Build and install one package unless it is there already."""
    package = read_package(folder)
    present = importlib.util.find_spec(package.name)
    stamp_file = prefix / "share" / package.name / "build_stamp"
    if present and present.origin and Path(present.origin).parent != site_packages / package.name:
        print(f"{package.name}: provided by {Path(present.origin).parent}, not built")
        return
    check_tools()
    stamp = content_stamp(package)
    if present and stamp_file.is_file() and stamp_file.read_text() == stamp:
        print(f"{package.name}: up to date")
        return
    print(f"{package.name}: building {len(package.messages)} messages ...", flush=True)
    with tempfile.TemporaryDirectory(prefix=f"{package.name}_") as temporary:
        build = Path(temporary)
        with contextlib.redirect_stdout(io.StringIO()):
            generate(package, build)
        build_extension(package, build, build / "python" / package.name / f"{package.name}_s__{TYPESUPPORT}.so")
        install(package, build, prefix, site_packages)
    stamp_file.write_text(stamp)
    print(f"{package.name}: installed in {site_packages}")


def main() -> int:
    """Build the packages named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build message packages for rclpy with Python and g++.")
    parser.add_argument("packages", nargs="+", type=Path, help="folders with package.xml and msg/")
    parser.add_argument("--prefix", type=Path, default=WHEELS, help="where to install (default: this environment)")
    arguments = parser.parse_args()
    relative_site = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    prefix = arguments.prefix.resolve()
    try:
        for folder in arguments.packages:
            build_package(folder, prefix, prefix / relative_site)
    except BuildError as error:
        print(f"build_interfaces: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
