#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Build message packages for rclpy with nothing but this Python and g++.

Takes folders with a package.xml and msg/*.msg, runs the rosidl generators that come with the ROS
wheels, links each package into one extension module and installs it beside the wheels. Messages
only (no services, no actions, no C++ interface), for rmw_fastrtps_cpp. A package that another
installation provides is left alone; one whose inputs did not change is not built again.
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
DISPATCH_TEMPLATE = Path(__file__).with_name("message_dispatch.cpp.in")
FASTRTPS, INTROSPECTION = "rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c"
GENERATORS = ("rosidl_generator_c", FASTRTPS, INTROSPECTION)
LIBRARIES_PER_DEPENDENCY = (*GENERATORS, "rosidl_generator_py")
LIBRARIES = (
    *("rosidl_runtime_c", "rosidl_dynamic_typesupport", FASTRTPS, f"{FASTRTPS}pp", INTROSPECTION),
    *("rmw", "rcutils", "fastcdr"),
)


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
    """Read a package's name, its messages and its dependencies, followed through."""
    manifest = folder / "package.xml"
    messages = tuple(sorted(path.stem for path in (folder / "msg").glob("*.msg")))
    if not manifest.is_file() or not messages:
        raise BuildError(f"{folder}: expected package.xml and msg/*.msg, found neither or only one")
    found: list[str] = []
    pending = [manifest]
    while pending:
        for element in ElementTree.parse(pending.pop()).findall("depend"):
            name = (element.text or "").strip()
            if name in found:
                continue
            if not (WHEELS / "share" / name / "package.xml").is_file():
                raise BuildError(f"{folder.name} needs {name}: pip install -r requirements/ros.txt")
            found.append(name)
            pending.append(WHEELS / "share" / name / "package.xml")
    name = ElementTree.parse(manifest).findtext("name", "").strip()
    return Package(folder.resolve(), name, messages, tuple(found))


def content_stamp(package: Package) -> str:
    """Hash all that the result depends on: messages, this script, Python, generator versions."""
    digest = hashlib.sha256()
    inputs = [package.folder / "package.xml", Path(__file__), DISPATCH_TEMPLATE]
    inputs += [package.folder / "msg" / f"{message}.msg" for message in package.messages]
    for path in inputs:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    versions = [importlib.metadata.version(f"ros-{name.replace('_', '-')}") for name in GENERATORS]
    digest.update("|".join([sys.version, sys.prefix, *versions]).encode())
    return digest.hexdigest()


def check_tools() -> None:
    """Raise BuildError, naming the fix, if generators, compiler or Python headers are missing."""
    for generator in (*LIBRARIES_PER_DEPENDENCY, "rosidl_adapter"):
        if importlib.util.find_spec(generator) is None:
            raise BuildError(f"{generator} is missing: pip install -r requirements/ros.txt")
    if shutil.which("g++") is None:
        raise BuildError("g++ is missing: apt-get install g++ (or your system's C++ compiler)")
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise BuildError(f"Python.h is missing: apt-get install python{version}-dev")


def generate(package: Package, build: Path) -> None:
    """Write idl files, type hashes and C, C++ and Python sources of a package under `build`."""
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
        template = DISPATCH_TEMPLATE.read_text().replace("@PACKAGE@", package.name)
        (build / f"{message}.cpp").write_text(template.replace("@MESSAGE@", message))

    def request(generator: str, output: Path) -> str:
        return write_generator_request(package, build, generator, output)

    generate_type_hash(request("rosidl_generator_type_description", share))
    steps = (generate_structs, generate_typesupport_fastrtps_c, generate_introspection)
    for generator, step in zip(GENERATORS, steps, strict=True):
        output = build / generator / package.name
        step(request(generator, output))
        write_visibility_header(package.name, generator, output / "msg")
    python = build / "python" / package.name
    generate_py(request("rosidl_generator_py", python), ["rosidl_typesupport_c"])
    (python / "__init__.py").touch()


def write_generator_request(package: Package, build: Path, generator: str, output: Path) -> str:
    """Write the arguments file that every rosidl generator reads; return its path."""
    share = build / "share" / package.name
    names = package.messages
    arguments = {
        "package_name": package.name,
        "output_dir": str(output),
        "template_dir": str(WHEELS / "share" / generator / "resource"),
        "idl_tuples": [f"{share}:msg/{name}.idl" for name in names],
        "include_paths": [f"{name}:{WHEELS}/share/{name}" for name in package.dependencies],
        "ros_interface_files": [f"{share}/msg/{name}.msg" for name in names],
        "type_description_tuples": [f"msg/{name}.idl:{share}/msg/{name}.json" for name in names],
        "target_dependencies": [],
    }
    path = build / f"{generator}.json"
    path.write_text(json.dumps(arguments))
    return str(path)


def write_visibility_header(package_name: str, generator: str, folder: Path) -> None:
    """Fill in a generator's visibility header, which CMake would otherwise configure."""
    header = f"{generator}__visibility_control.h"
    text = (WHEELS / "share" / generator / "resource" / f"{header}.in").read_text()
    text = text.replace("@PROJECT_NAME_UPPER@", package_name.upper())
    (folder / header).write_text(text.replace("@PROJECT_NAME@", package_name))


def run_compiler(arguments: list[str]) -> None:
    """Run g++; raise BuildError with its first error line if it fails."""
    result = subprocess.run(["g++", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        raise BuildError(f"g++ failed: {(errors or [result.stderr])[0].strip()}")


def build_extension(package: Package, build: Path) -> None:
    """Compile every generated source and link them into one extension module."""
    import numpy as np

    include_dirs = [build / generator for generator in GENERATORS]
    include_dirs += sorted(path for path in (WHEELS / "include").iterdir() if path.is_dir())
    include_dirs += [WHEELS / "include", Path(sysconfig.get_path("include"))]
    includes = [f"-I{path}" for path in (*include_dirs, np.get_include())]

    def compile_one(source: Path) -> str:
        language = ["-x", "c", "-std=gnu11"] if source.suffix == ".c" else ["-std=c++17"]
        output = f"{source}.o"
        run_compiler(["-O1", "-w", "-fPIC", *includes, *language, "-c", str(source), "-o", output])
        return output

    sources = sorted(path for path in build.rglob("*") if path.suffix in (".c", ".cpp"))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, sources))
    kinds = LIBRARIES_PER_DEPENDENCY
    libraries = [f"{name}__{kind}" for name in package.dependencies for kind in kinds]
    output = build / "python" / package.name / f"{package.name}_s__rosidl_typesupport_c.so"
    link = [f"-L{WHEELS}/lib", f"-Wl,-rpath,{WHEELS}/lib", f"-Wl,-rpath-link,{WHEELS}/lib"]
    link += [f"-l{name}" for name in (*libraries, *LIBRARIES)]
    run_compiler(["-shared", "-Wl,--as-needed", "-o", str(output), *objects, *link])


def install(package: Package, build: Path, prefix: Path, site_packages: Path) -> None:
    """Copy the built package and its ament index markers into the prefix."""
    for source, target in (("share", prefix / "share"), ("python", site_packages)):  # stamp first
        shutil.rmtree(target / package.name, ignore_errors=True)
        ignored = shutil.ignore_patterns("*.c", "*.o")
        shutil.copytree(build / source / package.name, target / package.name, ignore=ignored)
    index = prefix / "share" / "ament_index" / "resource_index"
    files = [f"msg/{name}.{suffix}" for name in package.messages for suffix in ("idl", "msg")]
    for kind, content in (("packages", ""), ("rosidl_interfaces", "\n".join(files))):
        (index / kind).mkdir(parents=True, exist_ok=True)
        (index / kind / package.name).write_text(content)


def build_package(folder: Path, prefix: Path, site_packages: Path) -> None:
    """Build and install one package unless it is there already."""
    package = read_package(folder)
    stamp_file = prefix / "share" / package.name / "build_stamp"
    present = importlib.util.find_spec(package.name)
    origin = Path(present.origin).parent if present and present.origin else None
    if origin and origin != site_packages / package.name:
        print(f"{package.name}: provided by {origin}, not built")
        return
    check_tools()
    stamp = content_stamp(package)
    if stamp_file.is_file() and stamp_file.read_text() == stamp:
        print(f"{package.name}: up to date")
        return
    print(f"{package.name}: building {len(package.messages)} messages ...", flush=True)
    with tempfile.TemporaryDirectory(prefix=f"{package.name}_") as temporary:
        build = Path(temporary)
        with contextlib.redirect_stdout(io.StringIO()):
            generate(package, build)
        build_extension(package, build)
        install(package, build, prefix, site_packages)
    stamp_file.write_text(stamp)
    print(f"{package.name}: installed in {site_packages}")


def main() -> int:
    """Build the packages named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Build message packages for rclpy.")
    parser.add_argument("packages", nargs="+", type=Path, help="folders with package.xml and msg/")
    parser.add_argument("--prefix", type=Path, default=WHEELS, help="default: this environment")
    arguments = parser.parse_args()
    prefix = arguments.prefix.resolve()
    site_packages = prefix / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    try:
        for folder in arguments.packages:
            build_package(folder, prefix, site_packages)
    except BuildError as error:
        print(f"build_interfaces: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
