"""A command in bad surroundings: full disks, missing folders, closed streams, little memory, many at once."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import lbfgs_style
from lbfgs_style import MemoryShortage, Options, StyleTransfer, images, networks
from lbfgs_style.cli import files
from lbfgs_style.errors import NetworkFileError, SessionError
from lbfgs_style.networks import pull
from lbfgs_style.objective.providers import session_error
from lbfgs_style.objective.session import Session
from lbfgs_style.system import memory
from lbfgs_style.system.workers import forget_workers
from tests.helpers.command import ROOT, contents, one_error, paint, photo, run, save

POSIX = pytest.mark.skipif(os.name != "posix", reason="shells, limits and file descriptors of POSIX")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the files of Linux")


def shell(line: str, network: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh; ``STYLE`` stands for the command, ``PAINT`` for one that paints, but for its -o."""
    style = f"{sys.executable} -m lbfgs_style"
    arguments = f"--network {network} --size 32 --iterations 2 --device cpu --threads 1"
    line = line.replace("PAINT", f"STYLE transfer photo.png painting.png {arguments}").replace("STYLE", style)
    return subprocess.run(
        ["/bin/sh", "-c", line],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        check=False,
        timeout=120,
    )


# Disks and folders


@POSIX
def test_a_disk_that_is_full_leaves_the_old_output(folder, network):
    """A limit of 8 blocks of 512 bytes for each file stands for it: writing fails in the middle."""
    save("photo.png", np.random.default_rng(0).integers(0, 256, (90, 96, 3)).astype(np.uint8))
    Path("out.png").write_bytes(b"old")
    before = contents(folder)
    done = shell("ulimit -f 8; PAINT --size 96 -o out.png --quiet", network)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == "lbfgs-style: out.png: cannot be written: File too large\n"
    assert contents(folder) == before


@pytest.mark.parametrize("place", ["open", "write_text", "replace"])
def test_no_space_left_is_one_line(folder, network, capfd, monkeypatch, place):
    """For the picture and for the report, whichever comes first."""

    original = getattr(Path, place)

    def full(self, *args, **kwargs):
        if "rb" in (*args, *kwargs.values()):
            return original(self, *args, **kwargs)
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, place, full)
    before = {"photo.png", "painting.png"}
    assert paint(network, "--quiet", "--report", "run.json") == 2
    one_error(capfd, "No space left on device")
    assert set(contents(folder)) - before <= {"out.png"}


def test_a_folder_that_vanishes_is_named_as_the_user_wrote_it(folder, network, capfd, monkeypatch):
    Path("gone").mkdir()
    plain = files.check_outputs

    def check(*arguments, **options):
        plain(*arguments, **options)
        Path("gone").rmdir()

    monkeypatch.setattr(files, "check_outputs", check)
    assert paint(network, "--quiet", "--report", "gone/run.json") == 2
    one_error(capfd, r"gone/run\.json: No such file or directory")
    assert Path("out.png").is_file()


@LINUX
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_one_line(folder, network, unbuffered):
    for line in ("PAINT --quiet -o -", "STYLE networks list", "STYLE --version"):
        done = shell(f"{line} > /dev/full", network, PYTHONUNBUFFERED=unbuffered)
        assert done.returncode == 2, line
        (message,) = done.stderr.decode().splitlines()
        assert "No space left on device" in message


@LINUX
def test_errors_of_the_last_flush_are_reported(network):
    command = "from lbfgs_style.cli import app as cli; cli.app = lambda **_: print(1); cli.main()"
    done = shell(f"{sys.executable} -c '{command}' > /dev/full", network, PYTHONUNBUFFERED="")
    says = b"lbfgs-style: standard output: cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, says)


@POSIX
def test_a_broken_pipe_is_one_line(folder, network):
    done = shell("(PAINT --quiet -o - ; echo $? >&2) | true", network)
    message, code = done.stderr.decode().splitlines()
    assert code == "2"
    assert "standard output: cannot be written: Broken pipe" in message


@POSIX
def test_a_run_whose_progress_nobody_reads_goes_on(folder, network):
    done = shell("PAINT --verbose -o out.png 2>&1 >/dev/null | true; test -s out.png", network)
    # The pipeline ends when the command does, with its picture written.
    assert done.returncode == 0


@LINUX
@pytest.mark.parametrize("place", ["/proc/nothing/cache", "/dev/null/cache", "/sys/cache"])
def test_a_cache_that_cannot_be_written_is_one_line(place, monkeypatch, published):
    """Folders in which not even root may write; no permissions are needed to test it."""
    published("vgg16")
    monkeypatch.setenv("LBFGS_STYLE_CACHE", place)
    with pytest.raises(NetworkFileError, match="set LBFGS_STYLE_CACHE to another folder") as caught:
        pull.pull("vgg16")
    assert "\n" not in str(caught.value)


@POSIX
def test_a_folder_that_is_read_only(folder, network, capfd):
    """Root may write anywhere, so its run paints; the run of anybody else is refused."""
    sealed = folder / "sealed"
    sealed.mkdir()
    sealed.chmod(0o555)
    code = paint(network, "--quiet", output="sealed/out.png")
    if os.geteuid() == 0:
        assert code == 0
    else:
        assert code == 2
        one_error(capfd, "no permission to write into the folder")
    sealed.chmod(0o755)


@POSIX
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="only root may become another user")
def test_somebody_who_may_not_write(tmp_path, monkeypatch):
    """As the user ``nobody``, in a folder of root and in a child process."""
    code = (
        "import os, sys; from pathlib import Path; from lbfgs_style.system.files import why_unwritable\n"
        "os.setgid(65534); os.setuid(65534); print(why_unwritable(sys.argv[1]))"
    )
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o755)
    for parent in (tmp_path, *tmp_path.parents):
        if parent == Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", code, folder / "out.png"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no permission to write into the folder" in done.stdout, done.stderr


# Streams and terminals


@POSIX
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(folder, network, closed):
    done = shell(f"PAINT -o out.png {closed}", network)
    assert done.returncode == 0, done.stderr
    assert images.read("out.png").rgb.shape == (27, 32, 3)
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


@POSIX
def test_a_picture_from_or_to_a_closed_stream_is_refused(folder, network):
    done = shell("PAINT -o - >&-", network)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"standard output, which is closed: name a file" in done.stderr
    done = shell(
        "STYLE transfer - painting.png -o out.png --network NET <&-".replace("NET", network), network
    )
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"standard input is empty" in done.stderr


@POSIX
@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "iso8859-5:strict"},  # Cyrillic, without a ×
    ],
)
def test_names_and_numbers_are_printed_in_any_language(folder, network, locale):
    name = "日本 größe.png"
    Path("photo.png").rename(name)
    arguments = f"--network {network} --size 32 --iterations 2 --device cpu --threads 1"
    paint = f"STYLE transfer '{name}' painting.png {arguments}"
    line = (
        f"{paint} -o 'ä é.png' && {paint} -o x.png --dry-run && STYLE transfer nö.png painting.png -o x.png"
    )
    done = shell(line, network, **locale)
    assert done.returncode == 2  # of the last part
    assert Path("ä é.png").is_file()
    assert b"Traceback" not in done.stderr
    assert b"at most" in done.stdout  # the plan, with its ×
    assert b": no such file." in done.stderr.splitlines()[-1]


@POSIX
@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_a_terminal_that_cannot_draw_gets_lines(folder, network, term):
    ours, theirs = os.openpty()
    arguments = (
        "--network",
        network,
        "--size",
        "32",
        "--iterations",
        "2",
        "--device",
        "cpu",
        "--threads",
        "1",
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lbfgs_style",
            "transfer",
            "photo.png",
            "painting.png",
            "-o",
            "out.png",
            *arguments,
        ],
        stderr=theirs,
        stdin=theirs,
        env=os.environ | {"TERM": term, "PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 4096):
            output += part
    except OSError:  # how the end of a pseudo-terminal looks
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert b"out.png: 32" in output
    assert (b"\x1b[" in output) == (term == "xterm")
    assert (b"iteration 1/2" in output) or term == "xterm"


@LINUX
@pytest.mark.parametrize("report", ["run.json", "run.html"])
def test_names_that_are_not_utf8_round_trip(folder, network, report):
    """Bytes that are not UTF-8, as old disks have them: in the picture, in its recipe and in the report."""
    name = os.fsdecode(b"gr\xf6\xdfe.png")
    Path("photo.png").rename(name)
    assert paint(network, "--report", report, content=name, output=os.fsdecode(b"\xe4.png")) == 0
    assert Path(report).stat().st_size > 0
    assert run("rerun", os.fsdecode(b"\xe4.png"), "-o", "again.png", "--quiet") == 0
    np.testing.assert_array_equal(images.read("again.png").rgb, images.read(os.fsdecode(b"\xe4.png")).rgb)


# Memory


@pytest.mark.parametrize(
    "text",
    [
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
        "bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 1073741824",
    ],
)
def test_memory_shortage_is_an_exception_of_its_own(text):
    error = session_error("onnxruntime failed", RuntimeError(text))
    assert isinstance(error, MemoryShortage)
    assert isinstance(error, MemoryError)
    assert not isinstance(session_error("onnxruntime failed", RuntimeError("wrong shape")), MemoryShortage)


@pytest.mark.parametrize("who", ["onnxruntime", "numpy"])
def test_a_run_without_memory_names_the_budget_needed(folder, network, capfd, monkeypatch, who):
    def fail(self, *args, **kwargs):
        if who == "numpy":
            raise MemoryError("Unable to allocate 3.00 GiB for an array")
        raise session_error("onnxruntime failed", RuntimeError("std::bad_alloc"))

    monkeypatch.setattr(Session, "run", fail)
    before = contents(folder)
    assert paint(network, "--quiet") == 2
    says = (
        r"Not enough memory for 32×27 pixels, which should take (\d+) MB: ask for less with --memory (\d+)MB"
    )
    out, err = capfd.readouterr()
    (line,) = err.splitlines()
    expected, advised = map(int, re.search(says, line).groups())
    assert 0.5 * expected < advised < 0.7 * expected
    assert out == ""
    assert contents(folder) == before


@LINUX
def test_a_memory_limit_bounds_the_available_memory(monkeypatch):
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (2**40, 2**40))
    left = memory.bytes_from_rlimit()
    assert left is not None
    assert 2**40 - 2**38 < left < 2**40
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1000, 1000))
    assert memory.bytes_from_rlimit() == memory.available_memory() == 0
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY,) * 2)
    assert memory.bytes_from_rlimit() is None


SCARCE = """
import resource, sys
from pathlib import Path
from lbfgs_style.cli import app as cli
paint = ["transfer", "photo.png", "painting.png", "--network", sys.argv[1], "--device", "cpu",
         "--threads", "1", "--quiet", "--iterations", "3", "--scales", "single"]
small = [*paint, "-o", "first.png", "--size", "32"]
assert cli.exit_code(lambda: cli.app(small, standalone_mode=False)) == 0
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
large = [*paint, "-o", "out.png", "--size", "1024", "--memory", "8GB"]
sys.exit(cli.exit_code(lambda: cli.app(large, standalone_mode=False)))
"""


@LINUX
@pytest.mark.parametrize("megabytes", [40, 250])
def test_a_memory_limit_ends_a_run_in_one_line(folder, network, megabytes):
    """The run needs 8 GB that the process may not have; whichever part fails first reports it in one line."""
    save("photo.png", np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8))
    done = subprocess.run(
        [sys.executable, "-c", SCARCE, network, str(megabytes * 10**6)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    (message,) = [line for line in done.stderr.splitlines() if line.startswith("lbfgs-style")]
    assert "emory" in message
    assert "--memory" in message or "end other programs" in message
    assert not Path("out.png").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_thread_that_does_not_start_is_reported(network, monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    job = StyleTransfer(network, options=Options(size=32, iterations=1, device="cpu"))
    forget_workers()
    monkeypatch.setattr("threading.Thread.start", fail)
    with pytest.raises(SessionError, match="starts no more threads"):
        job.run(photo(), photo())


# Many at once


def painted(job: tuple[str, int]) -> tuple[str, str]:
    """Paint in a process of a pool; return how it ended and what the picture is."""
    network, seed = job
    options = Options(size=32, iterations=2, device="cpu", threads=1, init="noise", seed=seed % 2)
    result = StyleTransfer(network, options=options, keep_sessions=False).run(photo(), photo(24, 24))
    return result.stop_reason, hashlib.sha256(result.image.tobytes()).hexdigest()


def in_a_pool(network: str, method: str, *, workers: int, runs: int) -> None:
    painted((network, 0))  # the parent has sessions and threads of its own, too
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        results = list(pool.map(painted, [(network, seed) for seed in range(runs)]))
    assert {reason for reason, _ in results} == {"iterations"}
    # The results depend on the seeds alone, whatever ran at the same time.
    assert len({picture for _, picture in results}) == 2
    assert results[:2] * (runs // 2) == results


WORKERS = 32
METHODS = [method for method in ("fork", "spawn") if method in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_runs_in_a_process_pool(network, method):
    in_a_pool(network, method, workers=2, runs=4)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_32_runs_at_once_in_one_process_pool(network, method):
    in_a_pool(network, method, workers=WORKERS, runs=WORKERS)


PULLERS = 10
PULL = """
import sys
from dataclasses import replace
from lbfgs_style import networks
from lbfgs_style.networks import catalog
from lbfgs_style.networks.pull import pull
row = networks.known("vgg16")
changed = replace(row, url=sys.argv[1], size=int(sys.argv[2]), known_hash=sys.argv[3])
catalog.KNOWN = tuple(changed if old.name == "vgg16" else old for old in catalog.KNOWN)
catalog.search_folders = lambda: iter([networks.cache_folder()])
sys.stdin.readline()
print(pull("vgg16"))
"""


def test_ten_processes_that_pull_the_same_network_download_it_once(site, published, tmp_path):
    _, cache = published("vgg16")
    row = networks.known("vgg16")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PULL, str(row.url), str(row.size), str(row.known_hash)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for _ in range(PULLERS)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0] * PULLERS, ends
    assert {out.strip() for out, _ in ends} == {str(cache / "vgg16.onnx")}
    assert len(site.ranges) == 1
    assert sorted(path.name for path in cache.iterdir()) == ["locks", "vgg16.onnx"]
    assert networks.load("vgg16").name == "vgg16"


def test_the_output_on_a_stream_is_checked_before_the_run(monkeypatch):
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(lbfgs_style.OptionError, match="closed"):
        files.output(Path("-"))
