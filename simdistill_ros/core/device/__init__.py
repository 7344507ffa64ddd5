# SPDX-License-Identifier: Apache-2.0
"""One frame as tensor operations from pixels to boxes, so that it can run on a GPU in one go.

Plain torch throughout: everything here also runs on CPU tensors, where it is tested against the
numpy rules of `core/preprocess`, `core/decode` and `core/suppression`.
"""
