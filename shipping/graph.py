"""The network of a run as an ONNX graph for one document, built directly from its weights; no TensorFlow.

A network with attention reads ``token_ids`` int32 [S, T], each sentence padded on the right, and ``words_per_sentence``
int32 [S]. It gives ``logits`` [C], ``document_vector`` [D], ``word_weights`` [S, T] (0 in the padding),
``sentence_weights`` [S] and ``sentence_shares`` [S, C], all float32: what each sentence adds to the logits, which with
the bias of the last layer are their sum. Other networks read ``token_ids`` int32 [N] and give the first two.

    S sentences   T words of the longest sentence   N words   R rows   E embedding   H units per direction   D = 2H
    A attention   C classes   V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from config import NETWORKS, ModelSettings, entry, numbers_in
from utils import UserError, human_size

OPSET = 17  # the first of 2022; every runtime since then reads it
IR_VERSION = 8  # the file format of that time
LARGEST_MODEL = 2**31 - 2**20  # bytes: a protobuf message ends at 2 GiB

Weights = Mapping[str, np.ndarray]


class Graph:
    """Nodes and constants, in the order of computation."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, operation: str, *inputs: str | np.ndarray, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output.

        Args:
            operation: Of ONNX.
            *inputs: Names of values, arrays (which become constants), or "" for an input that is left out.
            name: Of the output; numbered if not given.
            **attributes: Of the node.

        Returns:
            The name of the output.
        """
        return self.add_several(operation, *inputs, names=[name or self.new_name(operation)], **attributes)[0]

    def add_several(self, operation: str, *inputs: str | np.ndarray, names: list[str], **attributes: Any) -> list[str]:
        """Adds a node with the outputs ``names``; see :meth:`add`."""
        values = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        self.nodes.append(helper.make_node(operation, values, names, **attributes))
        return names

    def constant(self, value: np.ndarray, name: str = "") -> str:
        """Adds an array; returns its name."""
        name = name or self.new_name("constant")
        self.constants[name] = numpy_helper.from_array(np.asarray(value, order="C"), name)
        return name

    def new_name(self, kind: str) -> str:
        """A name that nothing has yet."""
        return f"{kind.lower()}_{len(self.nodes)}_{len(self.constants)}"


def axes(*numbers: int) -> np.ndarray:
    """Axes as a constant."""
    return np.array(numbers, np.int64)


# ---------------------------------------------------------------------------------------------------------------------
# Word vectors


def plain_vectors(graph: Graph, table: np.ndarray, token_ids: str) -> str:
    """float32 as trained."""
    return graph.add("Gather", graph.constant(table, "embeddings"), token_ids)


def half_vectors(graph: Graph, table: np.ndarray, token_ids: str) -> str:
    """float16."""
    found = graph.add("Gather", graph.constant(table.astype(np.float16), "embeddings"), token_ids)
    return graph.add("Cast", found, to=TensorProto.FLOAT)


def byte_vectors(graph: Graph, table: np.ndarray, token_ids: str) -> str:
    """int8 times a float32 scale for each word: its largest value over 127."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, np.finfo(np.float32).tiny)
    codes = np.rint(table / scales).astype(np.int8)
    found = graph.add("Cast", graph.add("Gather", graph.constant(codes, "embeddings"), token_ids), to=TensorProto.FLOAT)
    scale = graph.add("Gather", graph.constant(scales.astype(np.float32), "embeddings/scales"), token_ids)
    return graph.add("Mul", found, scale)


# What --quantize can name.
WORD_VECTORS: dict[str, Callable[[Graph, np.ndarray, str], str]] = {
    "none": plain_vectors,
    "fp16": half_vectors,
    "int8": byte_vectors,
}


# ---------------------------------------------------------------------------------------------------------------------
# Recurrent layers


class Cell(NamedTuple):
    """A recurrent cell of Keras in ONNX.

    Attributes:
        operation: Of ONNX.
        order: Which gate of Keras each gate of ONNX is.
        attributes: Of the operation.
    """

    operation: str
    order: list[int]
    attributes: dict[str, int]


CELLS = {
    "gru": Cell("GRU", [0, 1, 2], {"linear_before_reset": 1}),  # z r h in both; Keras's reset_after
    "lstm": Cell("LSTM", [0, 3, 1, 2], {}),  # Keras: i f c o, ONNX: i o f c
}


def reordered(weight: np.ndarray, cell: Cell) -> np.ndarray:
    """The gates along the last axis in the order of ONNX."""
    gates = np.split(weight, len(cell.order), axis=-1)
    return np.concatenate([gates[number] for number in cell.order], axis=-1)


def cell_bias(bias: np.ndarray, cell: Cell) -> np.ndarray:
    """Biases of the input and of the recurrent product in a row; Keras's LSTM has one bias for both."""
    both = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return reordered(both, cell).reshape(-1)


def recurrent(
    graph: Graph, weights: Weights, layer: str, cell_name: str, elements: str, lengths: str = ""
) -> tuple[str, str]:
    """A bidirectional layer.

    Args:
        graph: Gets the nodes.
        weights: By name.
        layer: Its name.
        cell_name: ``gru`` or ``lstm``.
        elements: float32 [T, R, E].
        lengths: int32 [R]; all T where not given.

    Returns:
        Names of the states float32 [T, 2, R, H] and of the last state of each direction float32 [2, R, H].
    """
    cell = entry(CELLS, cell_name, "cell")
    directions = [f"{layer}/{name}" for name in ("left_to_right", "right_to_left")]
    kernels, recurrent_kernels, biases = (
        np.stack(parts)
        for parts in (
            [reordered(weights[f"{name}/kernel"], cell).T for name in directions],
            [reordered(weights[f"{name}/recurrent_kernel"], cell).T for name in directions],
            [cell_bias(weights[f"{name}/bias"], cell) for name in directions],
        )
    )
    states, last = graph.add_several(
        cell.operation,
        elements,
        graph.constant(kernels, f"{layer}/kernel"),
        graph.constant(recurrent_kernels, f"{layer}/recurrent_kernel"),
        graph.constant(biases, f"{layer}/bias"),
        lengths,
        names=[f"{layer}/states", f"{layer}/last"],
        direction="bidirectional",
        hidden_size=recurrent_kernels.shape[2],
        **cell.attributes,
    )
    return states, last


def encoded(graph: Graph, states: str) -> str:
    """States float32 [T, 2, R, H] as vectors float32 [R, T, D]."""
    return graph.add("Reshape", graph.add("Transpose", states, perm=[2, 0, 1, 3]), axes(0, 0, -1))


# ---------------------------------------------------------------------------------------------------------------------
# Poolings


class Pooled(NamedTuple):
    """Names of the results of a pooling.

    Attributes:
        vectors: float32 [R, D].
        weights: float32 [R, T], of each element.
        parts: float32 [R, T, D], what each element adds to the vector.
    """

    vectors: str
    weights: str
    parts: str


def mask_of(graph: Graph, lengths: str, longest: str) -> str:
    """bool [R, T]: where the elements are. ``lengths``: int64 [R]; ``longest``: int64 [1], T."""
    steps = graph.add("Range", np.array(0, np.int64), graph.add("Squeeze", longest, axes(0)), np.array(1, np.int64))
    return graph.add("Less", steps, graph.add("Unsqueeze", lengths, axes(1)))


def attention(graph: Graph, weights: Weights, layer: str, elements: str, mask: str) -> Pooled:
    """Softmax of tanh(elements . kernel + bias) . context within each row (see ``han.AttentionPooling``)."""
    kernel, bias, context = (
        graph.constant(weights[f"{layer}/{name}"], f"{layer}/{name}") for name in ("kernel", "bias", "context")
    )
    hidden = graph.add("Tanh", graph.add("Add", graph.add("MatMul", elements, kernel), bias))
    scores = graph.add("MatMul", hidden, context)  # [R, T]
    shares = graph.add("Softmax", graph.add("Where", mask, scores, LOWEST), axis=1)
    return weighted(graph, elements, graph.add("Mul", shares, graph.add("Cast", mask, to=TensorProto.FLOAT)))


def mean(graph: Graph, weights: Weights, layer: str, elements: str, mask: str) -> Pooled:
    """Every element of a row has the same weight."""
    present = graph.add("Cast", mask, to=TensorProto.FLOAT)
    count = graph.add("ReduceSum", present, axes(1), keepdims=1)
    return weighted(graph, elements, graph.add("Div", present, count))


def weighted(graph: Graph, elements: str, weights: str) -> Pooled:
    """The sum of the elements times their weights."""
    parts = graph.add("Mul", elements, graph.add("Unsqueeze", weights, axes(2)))
    return Pooled(graph.add("ReduceSum", parts, axes(1), keepdims=0), weights, parts)


def maximum(graph: Graph, weights: Weights, layer: str, elements: str, mask: str) -> Pooled:
    """The maximum of each unit; elements that hold the same maximum divide it."""
    present = graph.add("Unsqueeze", mask, axes(2))
    vectors = graph.add("ReduceMax", graph.add("Where", present, elements, LOWEST), axes=[1], keepdims=1)
    holds = graph.add("And", graph.add("Equal", elements, vectors), present)
    holds = graph.add("Cast", holds, to=TensorProto.FLOAT)
    shares = graph.add("Div", holds, graph.add("ReduceSum", holds, axes(1), keepdims=1))
    parts = graph.add("Mul", shares, vectors)
    return Pooled(graph.add("Squeeze", vectors, axes(1)), graph.add("ReduceMean", shares, axes=[2], keepdims=0), parts)


LOWEST = np.array(np.finfo(np.float32).min, np.float32)  # in place of minus infinity, which times 0 is not a number
POOLINGS = {"attention": attention, "mean": mean, "max": maximum}


# ---------------------------------------------------------------------------------------------------------------------
# The networks


def han(graph: Graph, weights: Weights, settings: ModelSettings, vectors: str) -> None:
    """Words in their sentences, sentences in their document; see :mod:`han`."""
    pool = entry(POOLINGS, settings.pooling, "pooling")
    steps = graph.add("Transpose", vectors, perm=[1, 0, 2])  # [T, S, E]
    states, _ = recurrent(graph, weights, "word_encoder", settings.cell, steps, "words_per_sentence")
    lengths = graph.add("Cast", "words_per_sentence", to=TensorProto.INT64)
    longest = graph.add("Slice", graph.add("Shape", "token_ids"), axes(1), axes(2))
    sentences = pool(graph, weights, "word_attention", encoded(graph, states), mask_of(graph, lengths, longest))
    graph.add("Identity", sentences.weights, name="word_weights")

    steps = graph.add("Unsqueeze", sentences.vectors, axes(1))  # [S, 1, D]
    states, _ = recurrent(graph, weights, "sentence_encoder", settings.cell, steps)
    count = graph.add("Shape", "words_per_sentence")
    document = pool(graph, weights, "sentence_attention", encoded(graph, states), mask_of(graph, count, count))
    graph.add("Squeeze", document.weights, axes(0), name="sentence_weights")
    classify(graph, weights, document.vectors)
    parts = graph.add("Squeeze", document.parts, axes(0))  # [S, D]
    graph.add("MatMul", parts, "classifier/kernel", name="sentence_shares")


def bilstm(graph: Graph, weights: Weights, settings: ModelSettings, vectors: str) -> None:
    """The last state of each direction; see :mod:`network.bilstm`."""
    _, last = recurrent(graph, weights, "encoder", "lstm", graph.add("Unsqueeze", vectors, axes(1)))
    classify(graph, weights, graph.add("Reshape", graph.add("Transpose", last, perm=[1, 0, 2]), axes(1, -1)))


def cnn(graph: Graph, weights: Weights, settings: ModelSettings, vectors: str) -> None:
    """The largest answer of each filter; see :mod:`network.cnn`."""
    channels = graph.add("Unsqueeze", graph.add("Transpose", vectors, perm=[1, 0]), axes(0))  # [1, E, N]
    features = [convolution(graph, weights, width, channels) for width in numbers_in(settings.filter_widths)]
    classify(graph, weights, graph.add("Concat", *features, axis=1))


def convolution(graph: Graph, weights: Weights, width: int, channels: str) -> str:
    """float32 [1, filters], the features of one width."""
    layer = f"convolution_{width}"
    kernel = graph.constant(weights[f"{layer}/kernel"].transpose(2, 1, 0), f"{layer}/kernel")
    bias = graph.constant(weights[f"{layer}/bias"], f"{layer}/bias")
    answers = graph.add("Conv", channels, kernel, bias, pads=[width - 1, width - 1], kernel_shape=[width])
    return graph.add("Relu", graph.add("ReduceMax", answers, axes=[2], keepdims=0))


def classify(graph: Graph, weights: Weights, vectors: str) -> None:
    """Logits and document vector of a document whose vector is ``vectors`` float32 [1, D]."""
    graph.add("Squeeze", vectors, axes(0), name="document_vector")
    kernel = graph.constant(weights["classifier/kernel"], "classifier/kernel")
    bias = graph.constant(weights["classifier/bias"], "classifier/bias")
    graph.add("Squeeze", graph.add("Add", graph.add("MatMul", vectors, kernel), bias), axes(0), name="logits")


BUILDERS: dict[str, Callable[[Graph, Weights, ModelSettings, str], None]] = {"han": han, "bilstm": bilstm, "cnn": cnn}


# ---------------------------------------------------------------------------------------------------------------------
# The model


def build_graph(architecture: str, settings: ModelSettings, weights: Weights, quantize: str = "none") -> ModelProto:
    """The graph of a network.

    Args:
        architecture: One of :data:`BUILDERS`.
        settings: The shape of the network.
        weights: By name, as in a checkpoint.
        quantize: One of :data:`WORD_VECTORS`.

    Raises:
        ValueError: There is no graph of this network.
        UserError: It is too large for a file.
    """
    graph = Graph()
    vectors = entry(WORD_VECTORS, quantize, "--quantize")(graph, weights["embeddings"], "token_ids")
    entry(BUILDERS, architecture, "model")(graph, weights, settings, vectors)
    size = sum(len(constant.raw_data) for constant in graph.constants.values())
    if size > LARGEST_MODEL:
        raise UserError(f"the weights take {human_size(size)}, and a model ends at 2 GB; add --quantize int8")
    return checked_model(graph, architecture)


def checked_model(graph: Graph, architecture: str) -> ModelProto:
    """The nodes and constants with their inputs and outputs as a model that ONNX has checked."""
    floats, integers = TensorProto.FLOAT, TensorProto.INT32
    inputs, outputs = {"token_ids": ["words"]}, {"logits": ["classes"], "document_vector": ["units"]}
    if NETWORKS[architecture].attends:
        inputs = {"token_ids": ["sentences", "words"], "words_per_sentence": ["sentences"]}
        outputs |= {
            "word_weights": ["sentences", "words"],
            "sentence_weights": ["sentences"],
            "sentence_shares": ["sentences", "classes"],
        }
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            architecture,
            [helper.make_tensor_value_info(name, integers, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, floats, shape) for name, shape in outputs.items()],
            list(graph.constants.values()),
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="han",
    )
    checker.check_model(model, full_check=True)
    return model
