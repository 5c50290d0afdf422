"""The network of a run as a web page without a server: a folder of static files, which classify in the browser.

index.html  page.js  page.css                        the page
classify.js  expressions.json                        text in, verdict and explanation out (the work of classify.py)
model.onnx  text.json  ngrams.npy                    as in a bundle
onnxruntime-web.js  ort-wasm-simd-threaded.wasm      runs the network; from npm, of a pinned version and hash
README.md  LICENSE  LICENSE-onnxruntime-web  sha256sums
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from report.colours import class_styles
from shipping.bundle import ExportedRun, write_data, write_sums
from shipping.expressions import javascript_expressions
from shipping.text_settings import patterns
from utils import UserError, atomic_write, log, sha256_of_file

STATIC = Path(__file__).with_name("static")
SHADED_STYLE = Path(__file__).parent.parent / "explaining" / "templates" / "shaded.css"
PAGE_FILES = ("index.html", "page.js", "classify.js")
RUNTIME, RUNTIME_VERSION = "onnxruntime-web", "1.30.0"
# Of the package: its file, the name here (.mjs is not known to every web server as JavaScript), its SHA-256.
RUNTIME_FILES = (
    (
        "dist/ort.wasm.bundle.min.mjs",
        "onnxruntime-web.js",
        "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    ),
    (
        "dist/ort-wasm-simd-threaded.wasm",
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
)
SECONDS_FOR_NPM = 300
FLAG = "--onnxruntime_web"
LOCAL_COPY = (
    f"{FLAG} FILE takes {RUNTIME}-{RUNTIME_VERSION}.tgz, which `npm pack {RUNTIME}@{RUNTIME_VERSION}` downloads"
)


def write_web_page(folder: Path, source: ExportedRun, quantize: str, local_copy: Path | None) -> None:
    """Writes everything but the model card.

    Args:
        folder: An empty one.
        source: The run.
        quantize: One of ``shipping.graph.WORD_VECTORS``.
        local_copy: The npm package of onnxruntime-web, as .tgz or unpacked; ``None`` downloads it.

    Raises:
        UserError: The package cannot be downloaded or is not the pinned one.
    """
    write_runtime(folder, local_copy)
    write_data(folder, source, quantize)
    with atomic_write(folder / "expressions.json") as file:
        json.dump(javascript_expressions(patterns()), file, separators=(",", ":"))
    for name in PAGE_FILES:
        with atomic_write(folder / name) as file:
            file.write((STATIC / name).read_text(encoding="utf-8"))
    rules, own = (path.read_text(encoding="utf-8") for path in (SHADED_STYLE, STATIC / "page.css"))
    with atomic_write(folder / "page.css") as file:
        file.write(rules + class_styles(source.config.class_names) + own)
    with atomic_write(folder / "LICENSE-onnxruntime-web") as file:
        file.write((STATIC / "LICENSE-onnxruntime-web").read_text(encoding="utf-8"))
    write_sums(folder)


# ---------------------------------------------------------------------------------------------------------------------
# onnxruntime-web


def write_runtime(folder: Path, local_copy: Path | None) -> None:
    """Writes the files of onnxruntime-web that the page loads, and checks their hashes."""
    with package(local_copy) as path:
        for name, written_name, sha256 in RUNTIME_FILES:
            given = path / name
            if not given.is_file() or sha256_of_file(given) != sha256:
                where = local_copy or f"the package {RUNTIME} from npm"
                raise UserError(
                    f"{where} has no {name} of version {RUNTIME_VERSION} (SHA-256 {sha256[:12]}...); {LOCAL_COPY}"
                )
            content = without_source_map(given.read_bytes())
            with atomic_write(folder / written_name, "wb") as file:
                file.write(content)


def without_source_map(content: bytes) -> bytes:
    """A script without the name of a source map, which is not in the folder; other files as they are."""
    return re.sub(rb"\n//# sourceMappingURL=\S+\s*\Z", b"\n", content)


@contextlib.contextmanager
def package(local_copy: Path | None) -> Iterator[Path]:
    """The folder of the npm package while the block runs."""
    if local_copy is not None and local_copy.is_dir():
        yield local_copy
        return
    with tempfile.TemporaryDirectory() as temporary:
        archive = download(Path(temporary)) if local_copy is None else local_copy
        yield unpacked(archive, Path(temporary))


def download(folder: Path) -> Path:
    """Downloads the package with npm, from the registry that npm is set up for; returns the archive."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"npm, which downloads {RUNTIME}, is not installed; install Node.js, or {LOCAL_COPY}")
    log.info("Downloading %s %s with npm (33 MB)", RUNTIME, RUNTIME_VERSION)
    command = [npm, "pack", f"{RUNTIME}@{RUNTIME_VERSION}", "--pack-destination", str(folder)]
    command += ["--silent", "--prefer-offline"]  # a version never changes: what npm has, it need not ask for
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS_FOR_NPM)
    except subprocess.TimeoutExpired as error:
        raise UserError(f"npm did not end in {SECONDS_FOR_NPM} s; try again, or {LOCAL_COPY}") from error
    archives = list(folder.glob("*.tgz"))
    if done.returncode or len(archives) != 1:
        reason = next((line for line in done.stderr.splitlines() if line.strip()), "no reason given").strip()
        raise UserError(f"npm cannot download {RUNTIME}@{RUNTIME_VERSION} ({reason}); {LOCAL_COPY}")
    return archives[0]


def unpacked(archive: Path, folder: Path) -> Path:
    """Unpacks what is needed of an npm archive, whatever else it holds; returns the folder of the package."""
    wanted = {f"package/{name}" for name, _, _ in RUNTIME_FILES}
    try:
        with tarfile.open(archive, "r:gz") as file:
            members = [member for member in file.getmembers() if member.name in wanted and member.isfile()]
            file.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} cannot be read as an npm package ({error}); {LOCAL_COPY}") from error
    return folder / "package"
