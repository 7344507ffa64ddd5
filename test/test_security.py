# SPDX-License-Identifier: Apache-2.0
"""Nothing unpickles, nothing runs a shell, and the SROS 2 policy is that of the running node."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("simdistill_ros", "training/simdistill_training", "benchmarks", "scripts", "launch")
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# Where the name of an exception is all that is taken of it.
ONLY_EXCEPTIONS = {"training/simdistill_training/convert/state_files.py"}
POLICY = ROOT / "config" / "sros2_policy.xml"


def sources() -> Iterator[tuple[str, ast.Module]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for name, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{name}:{node.lineno}", ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> Any:
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def test_nothing_imports_a_module_that_unpickles() -> None:
    found = []
    for name, tree in sources():
        for node in ast.walk(tree):
            names = {a.name for a in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            if {n.split(".")[0] for n in names} & UNPICKLERS:
                found.append(name)
    assert set(found) <= ONLY_EXCEPTIONS
    for name in ONLY_EXCEPTIONS:
        used = set(re.findall(r"pickle\.(\w+)", (ROOT / name).read_text()))
        assert used == {"UnpicklingError"}


def test_files_are_loaded_so_that_they_cannot_run_code() -> None:
    loads = [(where, call) for where, name, call in calls() if name == "torch.load"]
    assert loads
    assert [where for where, call in loads if keyword(call, "weights_only") is not True] == []
    arrays = [(where, call) for where, name, call in calls() if name in ("np.load", "numpy.load")]
    assert arrays
    assert [where for where, call in arrays if keyword(call, "allow_pickle") is not False] == []


def test_nothing_runs_a_shell_or_evaluates_text() -> None:
    forbidden = {"os.system", "os.popen", "eval", "exec", "subprocess.getoutput"}
    assert [(where, name) for where, name, _ in calls() if name in forbidden] == []
    assert [
        where for where, _, call in calls() if keyword(call, "shell") not in (None, False)
    ] == []


def test_yaml_is_read_by_safe_loaders_only() -> None:
    for where, name, call in calls():
        if name == "yaml.load":
            loader = next(k.value for k in call.keywords if k.arg == "Loader")
            assert ast.unparse(loader) == "_PlainLoader", where
        assert name not in ("yaml.unsafe_load", "yaml.full_load"), where


def allowed(kind: str, right: str) -> set[str]:
    found: set[str] = set()
    for block in ElementTree.parse(POLICY).getroot().iter(f"{kind}s"):
        if block.get(right) == "ALLOW":
            found |= {str(item.text) for item in block.iter(kind)}
    return found


@pytest.mark.parametrize("use_sim_time", [False, True])
def test_the_policy_allows_what_the_running_node_does_and_no_more(
    bench: Any, use_sim_time: bool
) -> None:
    overlays = {"overlay.mosaic": True, "overlay.bev": True}
    bench.start(compressed=True, use_sim_time=use_sim_time, **overlays)
    graph = bench.rig

    def names(kind: str) -> set[str]:
        listed = getattr(graph, f"get_{kind}_names_and_types_by_node")("detector", "/")
        return {name for name, _ in listed}

    assert bench.spin_until(lambda: names("publisher") and names("service"))
    clock = set() if use_sim_time else {"/clock"}
    assert bench.spin_until(lambda: names("publisher") == allowed("topic", "publish")), names(
        "publisher"
    ) ^ allowed("topic", "publish")
    assert bench.spin_until(lambda: names("subscriber") | clock == allowed("topic", "subscribe")), (
        names("subscriber") ^ allowed("topic", "subscribe")
    )
    assert names("service") == allowed("service", "reply")
    assert names("client") == set()
