"""Speed of the network: the training step against stock ``keras.layers`` and against the floor; inference.

    python benchmarks/training_speed.py --records data/imdb/records

The floor is the arithmetic of the packed words, every occurrence projected, at the matrix-product rate measured in the
same rounds. "Padded" is the training step of the path that a GPU takes, on this processor.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring import find_records, interleaved, print_table, record, vocabulary_size

from config import ModelSettings, TrainingSettings
from runtime.devices import start_tensorflow
from utils import Parser, run_script

EMBEDDING_DIM, CLASSES = 200, 2
PRODUCT = 2048  # rows and columns of the matrix product that measures the rate


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="training_speed.py", description=__doc__)
    parser.add_argument("--records", type=Path, help="records folder (default: data/imdb/records, else sample's)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of all contenders (default: 7)")
    parser.add_argument("--batches", type=int, default=8, help="batches per round (default: 8)")
    parser.add_argument("--quick", action="store_true", help="only GRU, 50 units, batches of 64")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Measures every combination and prints one table."""
    records = arguments.records or find_records()
    start_tensorflow("cpu")
    cases = (
        [("gru", 50, 64)]
        if arguments.quick
        else [(cell, units, size) for cell in ("gru", "lstm") for units in (50, 100) for size in (64, 256)]
    )
    rows = []
    for cell, units, batch_size in cases:
        measured = measure(records, cell, units, batch_size, arguments)
        record("network", {"records": records.parent.name, **measured})
        rows.append(
            [
                f"{cell.upper()} {units}, batch {batch_size}",
                *(f"{measured[name]:,.0f}" for name in SHOWN),
                f"{measured['over_stock']:.2f}",
                f"{measured['share_of_floor']:.0%}",
                f"{measured['inference_over_training']:.2f}",
            ]
        )
    print_table("Network, documents/s", ["", *SHOWN, "training/stock", "of floor", "inference/training"], rows)


SHOWN = ("training", "padded", "stock", "floor", "inference", "with attention")


def measure(records: Path, cell: str, units: int, batch_size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One combination of cell, units and batch size: documents/s of each contender and their ratios."""
    from runtime.input_pipeline import Split, training_batches

    settings = ModelSettings(cell=cell, word_units=units, sentence_units=units, attention_dim=2 * units)
    split = Split(records, "train")
    numbers = training_batches(split.index, batch_size, seed=1, epoch=0)
    whole = [n for n in numbers if len(n) == batch_size][: arguments.batches]
    batches = [split.read(n) for n in whole]
    vocabulary = vocabulary_size(records)
    contenders = {
        **own_contenders(vocabulary, settings, batches),
        "padded": training_contender(vocabulary, settings, batches, padded=True),
        "stock": stock_contender(vocabulary, settings, batches),
        "product": product_contender(),
    }
    seconds = interleaved(contenders, arguments.rounds)
    documents = batch_size * len(batches)
    work = sum(operations(batch.documents, settings) for batch in batches)
    rate = 2 * PRODUCT**3 / seconds.pop("product")
    speeds = {name: documents / value for name, value in seconds.items()} | {"floor": documents * rate / work}
    return {
        "cell": cell,
        "units": units,
        "batch_size": batch_size,
        "gflops": rate / 1e9,
        **speeds,
        "words_per_second": sum(int(b.documents.token_ids.shape[0]) for b in batches) / seconds["training"],
        "over_stock": speeds["training"] / speeds["stock"],
        "share_of_floor": speeds["training"] / speeds["floor"],
        "inference_over_training": speeds["inference"] / speeds["training"],
    }


def own_contenders(vocabulary: int, settings: ModelSettings, batches: list[Any]) -> dict[str, Any]:
    """This project's training step (dropout, clipping and optimiser included) and inference."""
    import tensorflow as tf

    model = own_network(vocabulary, settings, padded=False)
    documents = documents_of_any_size()
    infer = tf.function(lambda d: model(d), input_signature=[documents], autograph=False)
    attend = tf.function(lambda d: tuple(model.attend(d)), input_signature=[documents], autograph=False)
    return {
        "training": training_contender(vocabulary, settings, batches, padded=False),
        "inference": lambda: [infer(b.documents).numpy() for b in batches],
        "with attention": lambda: [attend(b.documents)[2].numpy() for b in batches],
    }


def training_contender(vocabulary: int, settings: ModelSettings, batches: list[Any], padded: bool) -> Any:
    """The training step by compiled loops, or by ``keras.layers`` on sentences padded in the step, as on a GPU."""
    import tensorflow as tf

    from training.optimizers import RowwiseAdam
    from training.step import train_step

    model, optimizer = own_network(vocabulary, settings, padded), RowwiseAdam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[documents_of_any_size(), tf.TensorSpec([None], tf.int32)], autograph=False)
    def step(documents: Any, labels: Any) -> Any:
        return train_step(model, optimizer, documents, labels, tf.constant([1, 2]), TrainingSettings())["loss"]

    return lambda: [step(b.documents, b.labels).numpy() for b in batches]


def own_network(vocabulary: int, settings: ModelSettings, padded: bool) -> Any:
    """The network of this project."""
    from han import HAN
    from network.contract import NetworkArguments

    return HAN(NetworkArguments(vocabulary, EMBEDDING_DIM, CLASSES, settings, dropout=0.5, padded=padded))


def documents_of_any_size() -> Any:
    """What a compiled function takes."""
    import tensorflow as tf

    from network.contract import Documents

    return Documents(*[tf.TensorSpec([None], tf.int32)] * 3)


def stock_contender(vocabulary: int, settings: ModelSettings, batches: list[Any]) -> Any:
    """The training step of the stock HAN on the same batches, padded beforehand, with Keras's Adam."""
    import keras
    import tensorflow as tf
    from stock_han import StockHAN, padded

    model, optimizer = StockHAN(vocabulary, EMBEDDING_DIM, CLASSES, settings), keras.optimizers.Adam(1e-3)
    inputs = [(tf.constant(padded(b.documents)), b.labels) for b in batches]
    model(inputs[0][0])
    optimizer.build(model.trainable_variables)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None], tf.int32), tf.TensorSpec([None], tf.int32)], autograph=False
    )
    def step(ids: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(ids)))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        return loss

    return lambda: [step(ids, labels).numpy() for ids, labels in inputs]


def product_contender() -> Any:
    """A large matrix product: the machine's rate."""
    import tensorflow as tf

    matrix = tf.random.stateless_normal([PRODUCT, PRODUCT], [1, 2])
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)), autograph=False)
    return lambda: product().numpy()


def operations(documents: Any, settings: ModelSettings) -> float:
    """Floating-point operations of one training step's matrix products, forward and backward, without padding."""
    gates = {"gru": 3, "lstm": 4}[settings.cell]
    words, sentences = int(documents.token_ids.shape[0]), int(documents.words_per_sentence.shape[0])
    total = 0.0
    for elements, inputs, units in (
        (words, EMBEDDING_DIM, settings.word_units),
        (sentences, 2 * settings.word_units, settings.sentence_units),
    ):
        recurrent = 2 * gates * units * (inputs + units)
        total += 2 * elements * (recurrent + 2 * units * settings.attention_dim)
    return 3 * total


if __name__ == "__main__":
    run_script(main, build_parser())
