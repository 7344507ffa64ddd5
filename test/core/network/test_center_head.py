# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from simdistill_ros.core.network.center_head import CenterHead
from simdistill_ros.core.network.reference_keys import CENTER_HEAD, rename_keys


@pytest.mark.reference("07_center_head")
@pytest.mark.parametrize("role", ["student", "teacher"])
def test_reference_center_head_gives_the_published_maps(reference, role):
    config = reference.config
    head = CenterHead(
        config["in_channels"],
        [len(classes) for classes in config["tasks"]],
        shared_channels=config["share_conv_channel"],
        branch_channels=config["separate_head"]["head_conv"],
    ).eval()
    head.load_state_dict(rename_keys(reference.weights(f"{role}."), CENTER_HEAD))
    with torch.no_grad():
        tasks = head(reference[f"input.{role}_feats"])
    stored = [name for name in reference.tensors if name.startswith(f"output.{role}.pred.")]
    assert stored
    for name in stored:  # of the teacher only some tasks are stored
        index, branch = name.split(".")[-2:]
        values = tasks[int(index)][branch]
        torch.testing.assert_close(values, reference[name], atol=1e-5, rtol=1e-5)


def test_scores_start_near_a_tenth():
    head = CenterHead(4, [1, 2], shared_channels=4, branch_channels=4).eval()
    with torch.no_grad():
        maps = head(torch.zeros(1, 4, 3, 3))
    for task in maps:
        torch.testing.assert_close(
            task["heatmap"].sigmoid(), torch.full_like(task["heatmap"], 0.1), atol=0.02, rtol=0
        )
