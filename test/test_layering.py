# SPDX-License-Identifier: Apache-2.0
"""The law of the dependency directions, read from every source file; needs no ROS, no torch."""

from __future__ import annotations

import ast
import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "simdistill_ros"
STANDARD = set(sys.stdlib_module_names) | {PACKAGE}

ROS = {"rclpy", "launch", "launch_ros", "tf2_ros", "tf2_py", "message_filters", "cv_bridge"}
ROS |= {"ament_index_python", "diagnostic_updater", "rosbag2_py", "rosbags", "image_transport"}
INTERFACE_SUFFIXES = ("_msgs", "_interfaces")
# Vendor library -> the backend modules that may import it. TensorRT's memory is torch's.
VENDORS = {n: {f"{n}_backend"} for n in ("torch", "onnxruntime", "openvino")}
VENDORS["torch"] |= {"tensorrt_backend", "tensorrt_engine"}
VENDORS |= {n: {"tensorrt_library"} for n in ("tensorrt", "tensorrt_rtx")}
# What one backend is made of besides its main module.
PARTS = {
    "onnxruntime_backend": {"camera_groups"},
    "tensorrt_backend": {"tensorrt_engine", "tensorrt_library", "engine_cache"},
}
PARTS["tensorrt_engine"] = {"tensorrt_library"}

# Value types and pure functions that everything else in core may stand on, and what they may use.
GROUND = {"frames", "camera", "boxes", "snapshot", "sync", "transform_tree", "lift_geometry"}
ABOVE_GROUND = {"model_card", "preprocess", "decode", "detector", "backends", "network"}
# The modules that wire the node, and so know messages besides conversions.py.
NODE_MODULES = {
    "camera_info_reader",
    "conversions",
    "camera_inputs",
    "detector_node",
    "diagnostics",
    "outputs",
    "transform_input",
}
NODE_MODULES |= {"output_quality", "overlays", "parameters", "parameter_changes"}
NODE_MODULES |= {"doctor.message_types", "doctor.live"}


@dataclass(frozen=True)
class Source:
    """One source file and what it imports anywhere in it, also inside functions."""

    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """Dotted name below the package: `core.network.build`."""
        parts = self.path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        return ".".join(part for part in parts if part != "__init__")

    @functools.cached_property
    def imports(self) -> set[str]:
        return set().union(*(names_imported(node) for node in ast.walk(self.tree)), set())

    @property
    def early_imports(self) -> set[str]:
        """Imports that run when the module is imported (not those for the type checker)."""
        found: set[str] = set()
        pending: list[ast.AST] = list(self.tree.body)
        while pending:
            node = pending.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            found |= names_imported(node)
            pending.extend(ast.iter_child_nodes(node))
        return found

    @property
    def foreign(self) -> set[str]:
        """Top-level names of imported packages that are neither ours nor Python's."""
        return {name.split(".")[0] for name in self.imports} - STANDARD

    @property
    def ours(self) -> set[str]:
        """Imported modules of this package, named below it."""
        return {n.removeprefix(f"{PACKAGE}.") for n in self.imports if n.startswith(f"{PACKAGE}.")}


def names_imported(node: ast.AST) -> set[str]:
    """Return the modules an import statement names; `from a import b` may name a.b."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import at line {node.lineno}: write the full name"
        assert node.module is not None
        return {node.module}
    return set()


@functools.cache
def sources(folder: str = "") -> list[Source]:
    found = sorted((ROOT / PACKAGE / folder).rglob("*.py"))
    return [Source(path, ast.parse(path.read_text(encoding="utf-8"))) for path in found]


def is_ros(name: str) -> bool:
    return name in ROS or name.endswith(INTERFACE_SUFFIXES)


def test_there_are_sources_to_check() -> None:
    assert {"core.boxes", "conversions", "detector_node"} <= {source.name for source in sources()}


def test_core_imports_no_ros() -> None:
    wrong = {s.name: {n for n in s.foreign if is_ros(n)} for s in sources("core")}
    assert not {name: found for name, found in wrong.items() if found}


def test_core_imports_nothing_of_the_package_outside_core() -> None:
    wrong = {s.name: {n for n in s.ours if not n.startswith("core")} for s in sources("core")}
    assert not {name: found for name, found in wrong.items() if found}


def test_core_knows_neither_the_data_set_nor_the_bag_nor_pictures() -> None:
    tools = {"nuscenes", "rosbags", "matplotlib", "embreex", "tqdm"}
    wrong = {s.name: s.foreign & tools for s in sources("core")}
    assert not {name: found for name, found in wrong.items() if found}


def test_core_never_asks_what_time_it_is() -> None:
    clocks = {"time", "datetime"}
    calls = [
        f"{source.name}:{node.lineno}"
        for source in sources("core")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func).split(".")[0] in clocks
    ]
    assert not calls
    # Nor by another name: a clock that is imported alone could be called unseen.
    assert not [
        f"{source.name}:{node.lineno}"
        for source in sources("core")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.module in clocks
    ]


def test_nothing_imports_the_training_distribution() -> None:
    assert not [s.name for s in sources() if "simdistill_training" in s.foreign]


def test_only_node_replay_and_two_doctor_modules_import_messages() -> None:
    speakers = {
        source.name
        for source in sources()
        if any(name.endswith(INTERFACE_SUFFIXES) for name in source.foreign)
    }
    allowed = {name for name in speakers if name.startswith("replay.")} | NODE_MODULES
    assert speakers <= allowed


def test_scenes_import_neither_ros_nor_a_learning_library() -> None:
    wrong = {s.name: {n for n in s.foreign if is_ros(n) or n in VENDORS} for s in sources("scenes")}
    assert not {name: found for name, found in wrong.items() if found}


def test_reports_need_neither_ros_nor_a_learning_library() -> None:
    tools = {"bag_storage", "detector_link", "run", "session", "playback", "scene_bags", "oracle"}
    for source in sources("report"):
        assert not {n for n in source.foreign if is_ros(n) or n in VENDORS}, source.name
        assert not source.ours & {f"replay.{name}" for name in tools}, source.name


def test_drawing_needs_core_and_an_image_library_only() -> None:
    for source in sources("drawing"):
        assert source.foreign <= {"numpy", "cv2"}, source.name
        assert all(name.startswith(("core.", "drawing")) for name in source.ours), source.name
        assert "time" not in source.imports, source.name


def test_the_checks_of_doctor_are_pure_functions_of_what_was_seen() -> None:
    law = {"observations", "findings", "checks", "diagnosis", "rhythm", "rig_geometry", "overlap"}
    law |= {"tables", "terminal", "document", "drawings"}
    ground = {f"doctor.{name}" for name in law} | {"process_environment", "command_line.terminal"}
    for source in sources("doctor"):
        if source.name.split(".")[1:2] and source.name.split(".")[1] in law:
            assert not {n for n in source.foreign if is_ros(n) or n in VENDORS}, source.name
            assert "time" not in source.imports, source.name
            wrong = {n for n in source.ours if not n.startswith(("core.", *ground))} - {"doctor"}
            assert not wrong, f"{source.name} imports {wrong}"


def test_network_imports_torch_and_core_only() -> None:
    allowed = {"torch", "numpy", "safetensors", "triton"}
    for source in sources("core/network"):
        assert source.foreign <= allowed, source.name
        assert all(name.startswith("core") for name in source.ours), source.name
        assert not any(name.startswith("core.backends") for name in source.ours), source.name


def test_a_backend_imports_its_own_vendor_library_and_no_other_backend() -> None:
    for source in sources("core/backends"):
        stem = source.path.stem
        if stem == "choose":  # the one that knows them all
            continue
        foreign_vendors = {n for n in source.foreign & set(VENDORS) if stem not in VENDORS[n]}
        assert not foreign_vendors, f"{stem} imports {foreign_vendors}"
        siblings = {name for name in source.ours if name.startswith("core.backends.")}
        allowed = {f"core.backends.{name}" for name in {"base"} | PARTS.get(stem, set())}
        assert siblings <= allowed, f"{stem} imports {siblings}"


def test_no_vendor_library_is_loaded_outside_backends_and_network() -> None:
    late = {"onnxruntime", "tensorrt", "tensorrt_rtx", "openvino"}
    for source in sources():
        if not source.name.startswith("core.backends."):
            assert not {n.split(".")[0] for n in source.early_imports} & late, source.name


def test_value_types_stand_on_the_ground() -> None:
    for source in sources("core"):
        if source.name.removeprefix("core.") in GROUND:
            higher = {
                n for n in source.ours if n.split(".")[1:] and n.split(".")[1] in ABOVE_GROUND
            }
            assert not higher, f"{source.name} imports {higher}"


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        source.name: {
            name.removeprefix(f"{PACKAGE}.")
            for name in source.early_imports
            if name.startswith(f"{PACKAGE}.")
        }
        for source in sources()
    }
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail, name))
        if name not in finished:
            for imported in graph.get(name, ()):
                visit(imported, (*trail, name))
            finished.add(name)

    for name in graph:
        visit(name, ())


def test_the_package_itself_imports_nothing() -> None:
    (init,) = (source for source in sources() if source.name == "")
    assert not init.imports


@pytest.mark.parametrize("folder", [PACKAGE, "test", "launch", "scripts", "benchmarks"])
def test_every_file_starts_with_its_licence(folder: str) -> None:
    files = [p for s in ("*.py", "*.sh") for p in (ROOT / folder).rglob(s)]
    bare = [
        str(path.relative_to(ROOT))
        for path in files
        if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(path.read_text().splitlines()[:2])
    ]
    assert not bare


def test_no_file_is_called_by_what_it_is_not() -> None:
    banned = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [source.name for source in sources() if source.path.stem in banned]


def test_tests_are_no_package() -> None:
    assert not list((ROOT / "test").rglob("__init__.py"))
