# SPDX-License-Identifier: Apache-2.0
"""Build of the ament_python package; the version is the one in package.xml."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "simdistill_ros"
ROOT = Path(__file__).parent
MANIFEST = ElementTree.parse(ROOT / "package.xml")


def share_files(*folders):
    """List (installed folder, files) for whole folder trees under share/simdistill_ros."""
    groups = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            relative = path.relative_to(ROOT)
            if path.is_file() and "__pycache__" not in relative.parts:
                groups.setdefault(relative.parent, []).append(str(relative))
    return [(f"share/{PACKAGE}/{target}", files) for target, files in groups.items()]


setup(
    name=PACKAGE,
    version=MANIFEST.findtext("version"),
    description=MANIFEST.findtext("description"),
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*"]),
    package_data={PACKAGE: ["py.typed", "report/assets/*"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        *share_files("launch", "config", "models"),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "build_engines = simdistill_ros.build_engines:main",
            "demo = simdistill_ros.replay.demo:main",
            "detect = simdistill_ros.detect.cli:main",
            "detector_node = simdistill_ros.detector_node:main",
            "doctor = simdistill_ros.doctor.cli:main",
            "generate_scenes = simdistill_ros.scenes.generate:main",
            "nuscenes_to_bag = simdistill_ros.replay.nuscenes_to_bag:main",
            "replay = simdistill_ros.replay.replay:main",
            "report = simdistill_ros.report.cli:main",
        ],
    },
)
