# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.nn import functional

from simdistill_training.teacher import sparse_pairs as pairs_module
from simdistill_training.teacher.sparse_convolution import (
    IndexedConv3d,
    SparseMap,
    sparse_convolution,
    sparse_map,
)
from simdistill_training.teacher.sparse_encoder import SparseEncoder
from simdistill_training.teacher.sparse_pairs import (
    ConvolutionShape,
    pairs_by_sorting,
    pairs_by_spconv,
)
from simdistill_training.teacher.voxelization import Voxels

SHAPE = (9, 8, 7)
SHAPES = [
    ConvolutionShape((3, 3, 3), submanifold=True),
    ConvolutionShape((3, 3, 3), (2, 2, 2), (1, 1, 1)),
    ConvolutionShape((3, 3, 3), (2, 2, 2), (1, 1, 0)),
    ConvolutionShape((1, 1, 3), (1, 1, 2)),
]


def random_cells(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(0, size, (120, 1), generator=generator) for size in (2, *SHAPE)]
    cells = torch.unique(torch.cat(columns, 1), dim=0)
    return cells[torch.randperm(len(cells), generator=generator)].int()


def dense_convolution(layer: IndexedConv3d, dense: torch.Tensor) -> torch.Tensor:
    convolution = layer.convolution
    padding = (1, 1, 1) if convolution.submanifold else convolution.padding
    kernel = layer.weight.permute(0, 4, 1, 2, 3)
    return functional.conv3d(dense, kernel, stride=convolution.stride, padding=padding)


@pytest.mark.parametrize("convolution", SHAPES)
@pytest.mark.parametrize("with_spconv", [True, False])
def test_sparse_convolution_and_its_gradients_equal_the_dense_one(
    convolution, with_spconv, monkeypatch
):
    if with_spconv:
        pytest.importorskip("spconv")
    else:
        monkeypatch.setattr(pairs_module, "has_spconv", lambda: False)
    torch.manual_seed(1)
    cells = random_cells()
    layer = IndexedConv3d(3, 4, convolution).double()
    features = torch.randn(len(cells), 3, dtype=torch.float64, requires_grad=True)
    sparse = layer(SparseMap(features, cells, SHAPE, 2))
    dense_in = SparseMap(features, cells, SHAPE, 2).dense()
    dense_out = dense_convolution(layer, dense_in)
    sample, x, y, z = sparse.indices.long().unbind(1)
    at_outputs = dense_out[sample, :, x, y, z]
    torch.testing.assert_close(sparse.features, at_outputs)
    if not convolution.submanifold:  # every output that is not listed is zero
        torch.testing.assert_close(sparse.dense(), dense_out)
    direction = torch.randn_like(at_outputs)
    inputs = (features, layer.weight)
    ours = torch.autograd.grad((sparse.features * direction).sum(), inputs)
    theirs = torch.autograd.grad((at_outputs * direction).sum(), inputs)
    for own, expected in zip(ours, theirs, strict=True):
        assert expected.abs().sum() > 0
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize("convolution", SHAPES)
def test_pairs_of_spconv_and_of_sorting_are_the_same(convolution):
    pytest.importorskip("spconv")
    cells = random_cells(2)
    found = [
        pairs_by_spconv(cells, SHAPE, 2, convolution),
        pairs_by_sorting(cells, SHAPE, convolution),
    ]
    assert found[0].shape == found[1].shape
    for tap in range(len(found[0].inputs)):
        connections = [
            {
                (source, *pairs.cells[target].tolist())
                for source, target in zip(
                    pairs.inputs[tap].tolist(), pairs.outputs[tap].tolist(), strict=True
                )
            }
            for pairs in found
        ]
        assert connections[0] == connections[1]


@pytest.mark.parametrize("convolution", SHAPES)
def test_layers_of_spconv_take_the_same_weights_to_the_same_result(convolution):
    pytest.importorskip("spconv")
    torch.manual_seed(0)
    cells = random_cells(3)
    features = torch.randn(len(cells), 3)
    outputs = []
    state = IndexedConv3d(3, 4, convolution).state_dict()
    for engine in ("torch", "spconv"):
        layer = sparse_convolution(3, 4, convolution, engine=engine, pairs_name="x")
        layer.load_state_dict(state)
        with torch.no_grad():
            outputs.append(layer(sparse_map(features, cells, SHAPE, 2, engine)).dense())
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=1e-5)


def test_a_grid_without_voxels_gives_an_empty_map():
    layer = IndexedConv3d(3, 4, SHAPES[1])
    sparse = layer(SparseMap(torch.zeros(0, 3), torch.zeros(0, 4).int(), SHAPE, 2))
    assert sparse.dense().shape == (2, 4, 5, 4, 4)
    assert not sparse.dense().any()


def test_encoder_learns_on_the_cpu():
    torch.manual_seed(0)
    encoder = SparseEncoder(5, (4, 4, 8, 8), 6, (32, 24, 41), engine="torch")
    columns = [torch.randint(0, size, (200, 1)) for size in (2, 32, 24, 40)]
    cells = torch.unique(torch.cat(columns, 1), dim=0).int()
    voxels = Voxels(torch.randn(len(cells), 5), cells)
    bev = encoder(voxels, 2)
    assert bev.shape[0] == 2
    assert bev.shape[2:] == (4, 3)
    bev.square().sum().backward()
    silent = [name for name, value in encoder.named_parameters() if not value.grad.abs().sum() > 0]
    assert silent == []
