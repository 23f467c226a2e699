"""The transformer as an ONNX graph for one text at a time: token ids [1, n] to a unit vector [1, 384].

No mask and no padding. The vocabulary stays 4-bit, linear layers are int8 with one scale an output.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from infra.e5.weights import BLOCK, Array, Weights

CONTRIB = "com.microsoft"


def model(weights: Weights) -> onnx.ModelProto:
    graph = _Graph()
    value = _embeddings(graph, weights)
    for number in range(weights.shape.layers):
        value = _layer(graph, weights, f"l{number}", value)
    mean = graph.node("ReduceMean", "mean", value, graph.constant("one", np.array([1])), keepdims=0)
    graph.node("LpNormalization", "embedding", mean, axis=-1, p=2)
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, weights.shape.hidden])
    built = helper.make_graph(graph.nodes, "e5-small", [ids], [out], graph.constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(built, opset_imports=opsets, ir_version=9)


class _Graph:
    """Nodes under construction; every method returns the name of the value it adds."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, name: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name, domain=domain, **attributes))
        return name

    def linear(self, name: str, value: str, weights: Array) -> str:
        """Matrix product without bias; activations are scaled at run time."""
        scale = np.maximum(np.abs(weights).max(axis=0), 1e-9).astype(np.float32) / 127
        int8 = np.clip(np.rint(weights / scale), -127, 127).astype(np.int8)
        operands = [
            self.constant(f"{name}.w", int8),
            self.constant(f"{name}.scale", scale),
            self.constant(f"{name}.zero", np.zeros(len(scale), np.int8)),
        ]
        return self.node("DynamicQuantizeMatMul", name, value, *operands, domain=CONTRIB)

    def add(self, name: str, left: str, right: str) -> str:
        return self.node("Add", name, left, right)

    def norm(self, name: str, value: str, scale: Array, bias: Array, epsilon: float) -> str:
        operands = [self.constant(f"{name}.w", scale), self.constant(f"{name}.b", bias)]
        return self.node("LayerNormalization", name, value, *operands, axis=-1, epsilon=epsilon)


def _embeddings(graph: _Graph, weights: Weights) -> str:
    """Token + position + type vectors. The 250,000 rows of the vocabulary are two thirds of the file: 4-bit."""
    shape = weights.shape
    packed, scales = weights.blocks("emb.word", shape.vocabulary, shape.hidden)
    packed = packed[:, 0::2] | packed[:, 1::2] << 4  # the operator wants neighbours in one byte, low half first
    words = graph.node(
        "GatherBlockQuantized",
        "words",
        graph.constant("words.w", packed),
        "input_ids",
        graph.constant("words.scale", scales),
        domain=CONTRIB,
        gather_axis=0,
        quantize_axis=1,
        block_size=BLOCK,
        bits=4,
    )
    table = weights.floats("emb.pos", shape.positions, shape.hidden) + weights.floats("emb.type", 1, shape.hidden)
    zero, length = graph.constant("zero", np.array([0])), graph.node("Shape", "length", "input_ids", start=1)
    positions = graph.node("Slice", "positions", graph.constant("positions.w", table), zero, length, zero)
    scale, bias = weights.floats("emb.ln.w", shape.hidden), weights.floats("emb.ln.b", shape.hidden)
    return graph.norm("embedded", graph.add("summed", words, positions), scale, bias, shape.epsilon)


def _layer(graph: _Graph, weights: Weights, at: str, value: str) -> str:
    attended = _add_and_norm(
        graph, weights, f"{at}.attention", "ao", "aln", _attention(graph, weights, at, value), value
    )
    outer = _feed_forward(graph, weights, at, attended)
    return _add_and_norm(graph, weights, f"{at}.output", "fo", "oln", outer, attended)


def _attention(graph: _Graph, weights: Weights, at: str, value: str) -> str:
    hidden = weights.shape.hidden
    joined = np.concatenate([weights.matrix(f"{at}.{part}.w", hidden, hidden) for part in "qkv"], axis=1)
    biases = np.concatenate([weights.floats(f"{at}.{part}.b", hidden) for part in "qkv"])
    projected = graph.linear(f"{at}.qkv", value, joined)
    heads = [f"{at}.q", f"{at}.k", f"{at}.v"]
    graph.nodes.append(helper.make_node("Split", [projected], heads, f"{at}.split", axis=-1, num_outputs=3))
    heads.append(graph.constant(f"{at}.qkv.bias", biases))
    context = graph.node("MultiHeadAttention", f"{at}.context", *heads, domain=CONTRIB, num_heads=weights.shape.heads)
    return graph.linear(f"{at}.attended", context, weights.matrix(f"{at}.ao.w", hidden, hidden))


def _feed_forward(graph: _Graph, weights: Weights, at: str, value: str) -> str:
    shape = weights.shape
    inner = graph.linear(f"{at}.inner", value, weights.matrix(f"{at}.fi.w", shape.inner, shape.hidden))
    bias = graph.constant(f"{at}.inner.bias", weights.floats(f"{at}.fi.b", shape.inner))
    active = graph.node("BiasGelu", f"{at}.active", inner, bias, domain=CONTRIB)
    return graph.linear(f"{at}.outer", active, weights.matrix(f"{at}.fo.w", shape.hidden, shape.inner))


def _add_and_norm(graph: _Graph, weights: Weights, name: str, part: str, norm: str, result: str, residual: str) -> str:
    """Plain Add and LayerNormalization: 10-18 % faster than the fused SkipLayerNormalization."""
    hidden, at = weights.shape.hidden, name.partition(".")[0]
    bias = graph.constant(f"{name}.bias", weights.floats(f"{at}.{part}.b", hidden))
    summed = graph.add(f"{name}.summed", graph.add(f"{name}.biased", result, bias), residual)
    scale, shift = weights.floats(f"{at}.{norm}.w", hidden), weights.floats(f"{at}.{norm}.b", hidden)
    return graph.norm(name, summed, scale, shift, weights.shape.epsilon)
