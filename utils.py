"""What every stage shares: paths of files, atomic writes, hashes, JSON, logging, errors for users.

Imports nothing of this project and no TensorFlow, so that ``--help`` of any script is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import re
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar
from urllib.parse import quote, unquote

import installed  # noqa: F401

from tqdm import tqdm

# Raised whenever a reader of yesterday could misread a file of today: records, run folders and checkpoints carry it.
FORMAT_VERSION = 1
USER_ERROR_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
OUT_OF_MEMORY = "end other programs, or lower a flag that sizes the work (see --help), and run the same command again"

Item = TypeVar("Item")
log = logging.getLogger("han")


class UserError(ValueError):
    """A mistake that the user can correct: one line that names the thing, the value, the next command.

    Libraries raise it as the ``ValueError`` that it is; :func:`run_script` prints it and exits with code 2.
    """


# ---------------------------------------------------------------------------------------------------------------------
# Paths of files


# Of a records folder; a run folder has copies of the first three.
VOCABULARY_FILE = "vocab.txt"
LABELS_FILE = "labels.txt"
SPLITTER_FILE = "sentence_splitter.json"
EMBEDDINGS_FILE = "embeddings.npy"
LABEL_SETS_FILE = "label_sets.npy"
MANIFEST_FILE = "manifest.json"
COPIES = Path("data/copies")  # of data sets at an address
KEY_OPTION = re.compile(r"secret|token|password|(account|access)_key|^sig$", re.IGNORECASE)  # in an address, after "?"


def shard_name(split: str, shard: int, shards: int) -> str:
    """``train-00000-of-00004.tfrecord``"""
    return f"{split}-{shard:05d}-of-{shards:05d}.tfrecord"


def index_name(split: str) -> str:
    """``train.index.npy``"""
    return f"{split}.index.npy"


@dataclass(frozen=True)
class DataPaths:
    """The artefacts of one data set under ``data_dir``; nothing is created by naming a path.

    Attributes:
        dataset: Name of the data set, for example ``imdb``.
        data_dir: Folder that holds all data sets, ``data`` unless a flag says otherwise.
    """

    dataset: str
    data_dir: Path = Path("data")

    def __post_init__(self) -> None:
        plain_name("dataset", self.dataset)

    @property
    def folder(self) -> Path:
        return self.data_dir / self.dataset

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    @property
    def csv(self) -> Path:
        return self.folder / f"{self.dataset}.csv"

    @property
    def labels(self) -> Path:
        return self.folder / LABELS_FILE

    @property
    def csv_manifest(self) -> Path:
        return self.folder / "csv_manifest.json"

    @property
    def evidence(self) -> Path:
        """Character spans of the deciding sentences, for data sets that know them (``sample``)."""
        return self.folder / "evidence.jsonl"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def manifest(self) -> Path:
        return self.records / MANIFEST_FILE


def run_path(runs_dir: Path, run: str | None, dataset: str, model: str = "han") -> Path:
    """The folder of a run: ``<runs_dir>/<dataset>-<model>`` unless ``--run`` names another."""
    plain_name("dataset", dataset)
    return runs_dir / (f"{dataset}-{model}" if run is None else plain_name("run", run))


DATA_ENDINGS = (
    ".csv",
    ".tsv",
    ".tab",
    ".txt",
    ".jsonl",
    ".ndjson",
    ".json",
    ".xlsx",
    ".xlsm",
    ".xls",
    ".ods",
    ".parquet",
    ".feather",
    ".arrow",
    ".dta",
    ".gz",
    ".bz2",
    ".xz",
    ".zip",
)


def dataset_name(text: str) -> str:
    """The name of the data set that a person means: ``imdb``, or ``my_reviews`` for ``~/stuff/my_reviews.csv``."""
    name = Path(text).name or text
    while (ending := Path(name).suffix.lower()) in DATA_ENDINGS and name != ending:
        name = name[: -len(ending)]
    return name


def plain_name(flag: str, name: str) -> str:
    """Returns a name that becomes a folder; :class:`UserError` if it would lead elsewhere or cannot be typed again."""
    if not name or len(name) > 100 or "/" in name or name[0] in ".-" or not name.isprintable():
        folder = "--data_dir" if flag == "name" else "--runs_dir"
        what, way_out = f"--{flag} ", f"use {folder} to choose its folder"
        if flag == "dataset":  # for some scripts no flag but a word, which may be a person's file
            what, way_out = (
                "",
                "name a data set (imdb), your file or your folder; for the current folder type ../ITS_NAME",
            )
        raise UserError(
            f"{what}{ascii(name)[:60]} is not a valid folder name: use up to 100 printable characters, no slash, "
            f"and no dot or hyphen at the start; {way_out}"
        )
    return name


def usable_cores() -> int:
    """The cores that this process may use; in a container that can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def folder_flags(data_dir: Path, runs_dir: Path | None = None) -> list[str]:
    """The flags that a command needs to find the same folders; none for the default ones."""
    flags = [] if data_dir == Path("data") else ["--data_dir", address_of(data_dir) or str(data_dir)]
    return flags + ([] if runs_dir in {None, Path("runs")} else ["--runs_dir", str(runs_dir)])


def data_folder(text: str) -> Path:
    """The folder that ``--data_dir`` names; of an address the folder of this machine that its files are copied to.

    Raises:
        UserError: The address has a key in it, which would become the name of a folder.
    """
    if "://" not in text:
        return Path(text)
    refuse_keys(text)
    return COPIES / quote(text.rstrip("/"), safe="")


def refuse_keys(address: str) -> None:
    """Refuses ``s3://key:secret@bucket/data`` and ``?secret_key=``: an address is written to logs and file names.

    Raises:
        UserError: Does not repeat what may be secret.
    """
    kind, _, rest = address.partition("://")
    rest, _, options = rest.partition("?")
    host = rest.partition("/")[0]
    port = host.rpartition(":")[2]
    in_front = host.rpartition("@")[0] or (host if "@" in rest and not port.isdigit() else "")  # a key may hold a slash
    named = any(KEY_OPTION.search(option.partition("=")[0]) for option in options.split("&"))
    if ":" in in_front or named:
        raise UserError(
            f"the address {kind}://... has a key in it, which would be written to logs and names of folders; leave it "
            "out: keys belong into the environment (AWS_ACCESS_KEY_ID) or the file of the store's own tool"
        )


def folder_or_address(text: str) -> Path:
    """``--data_dir`` of a script that only reads: :func:`data_folder` for ``argparse``."""
    try:
        return data_folder(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def address_of(data_dir: Path) -> str | None:
    """The address that ``data_dir`` has the copies of, from :func:`data_folder`; ``None`` for any other folder."""
    address = unquote(data_dir.name)
    return address if data_dir.parent.name == COPIES.name and "://" in address else None


def own_folder(text: str) -> Path:
    """``--data_dir`` of a script that writes into it, which cannot be done at an address."""
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} is an address, and files are written to a folder of this machine; leave it out, and copy the "
            "folder of the data set to the address afterwards"
        )
    return Path(text)


def add_folder_flags(parser: argparse.ArgumentParser, runs: bool = True, writes: bool = False) -> None:
    """Adds ``--data_dir`` and, for scripts that read or write runs, ``--runs_dir``.

    Args:
        parser: Gets them.
        runs: Whether there is ``--runs_dir``.
        writes: Whether the script writes into the folder of a data set: it takes no address then.
    """
    kind, note = (own_folder, "") if writes else (folder_or_address, " or their address, such as s3://bucket/data")
    parser.add_argument(
        "--data_dir", type=kind, default=Path("data"), help=f"folder of the data sets{note} (default: data)"
    )
    if runs:
        parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")


def run_flags(arguments: argparse.Namespace) -> list[str]:
    """The flags by which trainer and tester find the same data and run, from the parsed flags of any script."""
    model = [] if arguments.model == "han" else ["--model", arguments.model]
    named = ["--run", arguments.run] if arguments.run else []
    return ["--dataset", arguments.dataset, *model, *named, *folder_flags(arguments.data_dir, arguments.runs_dir)]


def trainer_command(arguments: argparse.Namespace) -> str:
    """What to type to train the run that the parsed flags of any script name."""
    return shlex.join(["python", "han_trainer.py", *run_flags(arguments)])


def tester_command(arguments: argparse.Namespace) -> str:
    """What to type to test it."""
    return shlex.join(["python", "han_tester.py", "--run_type", "test", *run_flags(arguments)])


# ---------------------------------------------------------------------------------------------------------------------
# Atomic writes: files appear whole or not at all


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", **open_arguments: Any) -> Iterator[IO[Any]]:
    """Opens a temporary file beside ``path``; on leaving it is flushed to disk and renamed over ``path``.

    If the block raises (a full disk, Ctrl-C) the temporary file is removed and what stood at ``path`` is untouched.

    Args:
        path: The file that appears; its folder is created.
        mode: ``"w"`` (UTF-8 unless told otherwise) or ``"wb"``.
        **open_arguments: Passed on to :func:`open`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if "b" not in mode:
        open_arguments.setdefault("encoding", "utf-8")
        open_arguments.setdefault("errors", "surrogateescape")  # a path from the command line goes back to its bytes
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        error.filename = str(path)  # a person knows nothing of the temporary file
        raise
    try:
        with open(descriptor, mode, **open_arguments) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a failed write does not say of which file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def remove_leftovers(path: Path) -> None:
    """Deletes what :func:`atomic_write` left of writes to ``path`` that a kill interrupted, and nothing else.

    For whoever holds a lock that keeps other writers of ``path`` away, whose temporary files are called alike.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.tmp")  # as mkstemp forms it
    for file in path.parent.glob(".*.tmp"):
        if name.fullmatch(file.name):
            file.unlink(missing_ok=True)


def check_writable(folder: Path) -> None:
    """Tries whether files can be made in ``folder``, before hours of work are spent on what could not be written.

    Raises:
        OSError: They cannot; it names the folder. One that is not there yet is judged by the one above it.
    """
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)
        raise


def current_umask() -> int:
    """The process's file-mode mask; ``mkstemp`` ignores it, so :func:`atomic_write` applies it by hand."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entry list, without which a rename may be lost in a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, whole or not at all."""
    with atomic_write(path, "wb") as file:
        file.write(utf8(json.dumps(value, indent=2, ensure_ascii=False) + "\n"))


def utf8(text: str) -> bytes:
    """JSON as UTF-8. A path from the command line goes back to its bytes; one that is not UTF-8 becomes ``\\udcXX``."""
    try:
        written = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which no path has
        written = text.encode(errors="backslashreplace")
    return written.decode(errors="surrogateescape").encode(errors="backslashreplace")


def read_json(path: Path) -> Any:
    """Reads a JSON file; a damaged one is a :class:`UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and run the stage that makes it again") from error


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Writes one JSON value per line, whole or not at all."""
    with atomic_write(path, "wb") as file:
        file.writelines(utf8(json.dumps(row, ensure_ascii=False) + "\n") for row in rows)


def read_jsonl(path: Path) -> list[Any]:
    """Reads a JSON-lines file; a last line that a crash cut short is left out, a missing file is an empty list."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")  # decoded line by line: an error is found on its own line
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            if number == len(lines):
                break
            raise UserError(f"{path}, line {number} is damaged ({error}); delete that line") from error
    return rows


def append_jsonl(path: Path, row: Any) -> None:
    """Appends one line and flushes it to disk. A crash can only cut that line; the next call drops the cut piece."""
    with path.open("a+b") as file:
        file.seek(0)
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.write(utf8(json.dumps(row, ensure_ascii=False)) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """Hexadecimal SHA-256 of a JSON value, the same for equal values whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextlib.contextmanager
def exclusive_lock(path: Path, refusal: str = "") -> Iterator[None]:
    """Holds an advisory lock on ``path`` for the block; the kernel drops it when the process dies, however it dies.

    Args:
        path: The lock file; it stays behind, empty of meaning when nobody holds it.
        refusal: The whole message of the :class:`UserError` raised when another process holds the lock; without it,
            the lock is waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError as error:
            raise UserError(refusal) from error
        yield


def is_locked(path: Path) -> bool:
    """Whether some process holds :func:`exclusive_lock` on ``path`` right now."""
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


# ---------------------------------------------------------------------------------------------------------------------
# Imports


@contextlib.contextmanager
def absent(packages: Iterable[str]) -> Iterator[None]:
    """To import one of these packages is an ImportError in the block, unless it has been imported before."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python marks such a package
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


# ---------------------------------------------------------------------------------------------------------------------
# The terminal


def parse_bool(text: str) -> bool:
    """``true/yes/y/1/on`` and ``false/no/n/0/off``, in any case. (``bool("False")`` is ``True``: the classic trap.)"""
    lowered = text.strip().lower()
    if lowered in {"true", "t", "yes", "y", "1", "on"}:
        return True
    if lowered in {"false", "f", "no", "n", "0", "off"}:
        return False
    raise argparse.ArgumentTypeError(f"expected True or False, not {text!r}")


def set_up_logging() -> None:
    """Plain timestamped lines on standard error, which ``nohup`` collects and ``grep`` reads."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.captureWarnings(True)


def progress(
    items: Iterable[Item],
    total: int | None,
    description: str,
    unit: str = "it",
    size: Callable[[Item], int] | None = None,
) -> Iterator[Item]:
    """A progress bar on a terminal; nothing at all elsewhere, where stages log plain lines of their own.

    ``size``: how many units an item is; one, if it is not given.
    """
    shown: dict[str, Any] = {
        "total": total,
        "desc": description,
        "unit": unit,
        "disable": not sys.stderr.isatty(),
        "leave": False,
    }
    if size is None:
        yield from tqdm(items, **shown)
        return
    with tqdm(**shown) as bar:
        for item in items:
            yield item
            bar.update(size(item))


def human_size(count: float) -> str:
    """``1536`` -> ``"1.5 KB"``; powers of 1,024, as ``ls -h`` prints them."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"


def explain_os_error(error: OSError) -> str:
    """An operating-system error as one line with a way out."""
    where = error.filename or "the file"
    if error.errno == errno.ENOSPC:
        return f"the disk is full while writing {where}; free some space and run the same command again"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"no permission to write or read {where}; check its owner, or name another folder (see --help)"
    if error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return f"{where}: expected a folder and found a file, or the reverse; move it, or name another folder"
    return f"{where}: {error.strerror or error}"


def brief(text: str, most: int) -> str:
    """A text on one line, which ends with dots where it is longer than ``most`` characters.

    It is cut after a whole word, unless that leaves less than half: one long word, an address, would hide what is said.
    """
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    whole = line[:most].rpartition(" ")[0].rstrip(",;:")
    return f"{whole if 2 * len(whole) >= most else line[:most]} ..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean sample?`` where a known word is similar to the one that was typed; else empty."""
    meant = difflib.get_close_matches(word, sorted(set(known)), 1)
    return f"; did you mean {shlex.quote(meant[0])}?" if meant else ""


class Parser(argparse.ArgumentParser):
    """A parser without abbreviated flags: ``--dropout 0.1`` must not be read as ``--dropout_keep_proba 0.1``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **arguments)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Finds the words among the flags too: ``imdb --split_seed 2 False`` is ``imdb False --split_seed 2``."""
        found, unknown = self.parse_known_intermixed_args(args, namespace)
        if unknown:
            self.error(self.about_unknown(unknown))
        return found

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As usual, with the choice that may have been meant."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(str(value), map(str, action.choices or ()))
            raise

    def about_unknown(self, unknown: list[str]) -> str:
        """What is wrong with words that the parser does not know, and which flag may have been meant."""
        flag = next((word.partition("=")[0] for word in unknown if word.startswith("-")), None)
        if flag is None:
            return f"{unknown[0]!r} is not expected here"
        known = [name for name in self._option_string_actions if name.startswith("--")]
        # A flag of the form --batch-size, as other programs have them, is right but for its hyphens.
        meant = difflib.get_close_matches(flag.replace("-", "_"), [name.replace("-", "_") for name in known], 1)
        guess = f"; did you mean --{meant[0][2:]}?" if meant else ""
        return f"there is no flag {flag}{guess}"

    def error(self, message: str) -> NoReturn:
        """One line like every other mistake, in place of all flags and then the message."""
        sys.exit(fail(self.prog, f"{message}; python {self.prog} --help lists the flags"))


def run_script(main: Callable[[argparse.Namespace], int | None], parser: argparse.ArgumentParser) -> None:
    """Parses the command line, runs ``main`` and ends the process: the one place where errors become exit codes.

    A user's error is one line on standard error and exit code 2; Ctrl-C is exit code 130, SIGTERM 143; a bug keeps its
    traceback.
    """
    open_standard_streams()
    arguments = parser.parse_args()
    set_up_logging()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no é or █ gets a question mark, not a crash
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        code = main(arguments) or 0
    except UserError as error:
        code = fail(parser.prog, str(error))
    except KeyboardInterrupt:
        code = tell_interrupted(parser.prog)
    except MemoryError as error:
        code = fail(parser.prog, f"out of memory ({error}); {OUT_OF_MEMORY}".replace(" ()", ""))
    except BrokenPipeError:  # `... | head` closed our output: not worth a word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        if error.errno is None:
            raise
        code = fail(parser.prog, explain_os_error(error))
    except Exception:
        if not _stopped:  # a library that a signal hits while it is imported raises something of its own
            raise
        code = tell_interrupted(parser.prog)
    sys.exit(code)


def open_standard_streams() -> None:
    """Opens standard streams that the shell closed (``2>&-``) on the null device.

    Otherwise the next file to be opened, for example a checkpoint, would take their number and receive their output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
            setattr(sys, name, os.fdopen(null, "r" if number == 0 else "w"))


_stopped: list[int] = []  # the signals that asked for an end


def stop(number: int, frame: object) -> NoReturn:
    """Signal handler: SIGTERM takes down what is half done, as Ctrl-C does."""
    _stopped.append(number)
    raise KeyboardInterrupt


def tell_interrupted(program: str) -> int:
    """Says that a signal ended the program; returns the exit code, which tells Ctrl-C and SIGTERM apart."""
    print(f"{program}: interrupted; what is complete is kept, and the same command can be run again", file=sys.stderr)
    return 128 + _stopped[0] if _stopped else INTERRUPTED_EXIT_CODE


def fail(program: str, message: str) -> int:
    """Prints ``program: error: message`` on one line and returns the exit code of a user's error."""
    print(f"{program}: error: {' '.join(message.split())}", file=sys.stderr)
    return USER_ERROR_EXIT_CODE
