# SPDX-License-Identifier: Apache-2.0
import os
import platform
import subprocess
import sys

import pytest

from simdistill_training.allocator import VARIABLES

PAGE_FAULTS = """
import resource
import torch
from simdistill_training.allocator import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

done = keep_freed_memory()
torch.ones(2**26)  # 256 MB
before = faults()
torch.ones(2**25)
print(done, faults() - before)
"""


def page_faults_of_a_second_tensor(**variables: str) -> tuple[bool, int]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), **variables}
    run = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    done, faults = run.stdout.split()
    return done == "True", int(faults)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_a_freed_tensor_is_reused_without_page_faults():
    done, faults = page_faults_of_a_second_tensor()
    assert done
    assert faults < 100


def test_allocator_settings_of_the_user_are_kept():
    done, faults = page_faults_of_a_second_tensor(MALLOC_MMAP_THRESHOLD_="1048576")
    assert not done
    assert faults > 100
