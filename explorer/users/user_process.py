"""Users' code in a process of its own, so that whatever it does ends that process only, with its true cause.

A :class:`Process` calls Explorer's own functions by name (``module:function``); these call the user's. Its
memory is limited to what the machine has free, so that too large a network fails with an error.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import mmap
import os
import pickle
import queue
import re
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from explorer.settings import InputError, message_of
from explorer.units import duration, size
from explorer.users import functions, given
from explorer.users.sources import is_local

SAY_S = 60.0  # a call that makes no progress for so long is told
CHECK_S = 120.0  # a call that tries a network on a few inputs is ended after so long without progress
LOOK_S = 0.25  # interval between two looks at the process
BEAT_S = 0.5  # interval at which the process reports progress
FREE_SHARE = 0.9  # share of the free memory that the process may use
OUTPUT_BYTES = 2000  # of the user's last output that are kept
MARK = "EXPLORER_USER_PROCESS"  # environment variable by which all that users' code starts is known
KILL_ROUNDS = 20
FRAME = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)  # in a trace of faulthandler
# Runs with the caller's sys.path, so that no file of the current folder hides a library.
START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "import explorer.users.user_process as p; p.serve()"
)

_inside = False  # whether this is such a process


class EndedError(Exception):
    """Error: the process ended without an answer, or had to be ended.

    Args:
        certain: another try would end in the same way.
    """

    def __init__(self, message: str, certain: bool = False):
        super().__init__(message, certain)
        self.certain = certain

    def __str__(self) -> str:
        return self.args[0]


class Process:
    """A process for users' code. It starts with the first call, and again with the first after its end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(
        self,
        function: str,
        *arguments: Any,
        what: str,
        patience_s: float | None = None,
        say: Callable[[str], None] = lambda _: None,
        hear: Callable[[Any], None] | None = None,
    ) -> Any:
        """Return what ``module:function`` of Explorer returns for these arguments there.

        Args:
            what: what the call does, for messages: "the check of 'nets:make'".
            patience_s: seconds without progress (:func:`explorer.users.functions.progress`) until the call is
                ended.
            say: receives a message if there is no progress for a minute.
            hear: receives what the function tells (:func:`send_to_caller`) before it returns.

        Raises:
            EndedError: the process ended without an answer or made no progress; the message has the cause.
            BaseException: what the function raised, with ``place``: the last line of the user's.
        """
        try:
            return self._call(function, arguments, what, patience_s, say, hear)
        except (EndedError, KeyboardInterrupt):
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether the next call does not start the process."""
        return self._process is not None

    def _call(
        self,
        function: str,
        arguments: tuple[Any, ...],
        what: str,
        patience_s: float | None,
        say: Callable[[str], None],
        hear: Callable[[Any], None] | None,
    ) -> Any:
        process = self._process or self._start()
        assert process.stdin
        self._output.clear()
        with contextlib.suppress(BrokenPipeError):  # its end is noticed below
            known, self._known = self._known, given.all_given()
            new = {name: one for name, one in self._known.items() if known.get(name) != one}
            state = os.getcwd(), sys.path, dict(os.environ), new
            pickle.dump((state, function, arguments), process.stdin)
            process.stdin.flush()
        since, told = time.monotonic(), False
        while True:
            kind, value = "", None
            with contextlib.suppress(queue.Empty):
                kind, value = self._answers.get(timeout=LOOK_S)
            if kind == "answer":
                return value
            if kind == "left":
                raise EndedError(f"{what}: {value}", certain=True)
            if kind == "error":
                raise value  # pyright: ignore[reportGeneralTypeIssues]
            if kind == "told" and hear:
                hear(value)
            if kind in ("progress", "told"):
                since = time.monotonic()
            elif process.poll() is not None and self._answers.empty():
                raise self._ended(what, process.returncode)
            silent = time.monotonic() - since
            if patience_s is not None and silent > patience_s:
                raise self._stuck(what, silent)
            if silent > SAY_S and not told:
                say(f"{what} has made no progress for {duration(silent)}; waiting{self._until(patience_s)}.")
                told = True

    @staticmethod
    def _until(patience_s: float | None) -> str:
        return "" if patience_s is None else f", up to {duration(patience_s)}"

    def _start(self) -> subprocess.Popen[bytes]:
        import json

        self._answers: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._output: deque[bytes] = deque(maxlen=2)
        self._trace = tempfile.TemporaryFile()  # noqa: SIM115 (for as long as the process lives)
        self._killed_before = _kills_for_memory()
        self._known: dict[str, given.Given] = {}  # objects that it has
        self._mark = secrets.token_hex(8)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(self._trace.fileno()), json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[self._trace.fileno()],
            env={**os.environ, MARK: self._mark},
            start_new_session=True,  # a group of its own, with most processes that the user's code starts
        )
        for work in (self._receive, self._drain):
            threading.Thread(target=work, args=[self._process], daemon=True).start()
        return self._process

    def _receive(self, process: subprocess.Popen[bytes]) -> None:
        answers = self._answers
        with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                answers.put(pickle.load(process.stdout))  # pyright: ignore[reportArgumentType]

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        output = self._output
        with contextlib.suppress(OSError, ValueError):
            while some := os.read(process.stderr.fileno(), 2**16):  # pyright: ignore[reportOptionalMemberAccess]
                output.append(some)

    def _ended(self, what: str, code: int) -> EndedError:
        if code >= 0:
            return EndedError(f"{what} ended its process with exit code {code}{self._last()}", certain=True)
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        if -code == signal.SIGKILL and _kills_for_memory() > self._killed_before:
            return EndedError(f"{what} was killed (SIGKILL) because the memory of the machine was full")
        meaning = " (segmentation fault)" if -code == signal.SIGSEGV else ""
        certain = -code not in (signal.SIGKILL, signal.SIGTERM)  # which others send
        return EndedError(f"{what} was killed by {name}{meaning}{self._last()}", certain)

    def _stuck(self, what: str, silent: float) -> EndedError:
        assert self._process
        self._process.send_signal(signal.SIGABRT)  # writes where it is
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        said = f"{what} made no progress for {duration(silent)} and was ended{self._last()}"
        return EndedError(said, certain=True)

    def _last(self) -> str:
        """Return the last line of the user's that ran, and the last line that the user's code printed."""
        self._trace.seek(0)
        trace = self._trace.read().decode(errors="replace")
        place = functions.last_place([(file, int(line)) for file, line in FRAME.findall(trace)])
        printed = b"".join(self._output)[-OUTPUT_BYTES:].decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(printed) if line.strip()), "")
        return f", in {place}" * bool(place) + f"; it printed last: {last[-150:]}" * bool(last)

    def close(self) -> None:
        """End the process, and those that it has started."""
        if process := self._process:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            _kill_marked(self._mark)
            for stream in (process.stdin, process.stdout, process.stderr, self._trace):
                with contextlib.suppress(OSError, ValueError):
                    stream.close()  # pyright: ignore[reportOptionalMemberAccess]
            self._process = None


_here = Process()
_lock = threading.Lock()


def call(function: str, *arguments: Any, what: str, patience_s: float | None = None) -> Any:
    """Call ``module:function`` in this program's process for users' code, or directly if this is one.

    Raises:
        InputError: the process ended without an answer, or the function raised this.
        BaseException: see :meth:`Process.call`.
    """
    if _inside:
        return resolve(function)(*arguments)
    with _lock:
        try:
            return _here.call(function, *arguments, what=what, patience_s=patience_s, say=_print_to_stderr)
        except EndedError as error:
            raise InputError(str(error)) from error


def check_function(reference: str) -> None:
    """Import a user's ``module:function`` (:func:`~explorer.users.functions.user_function`), to check it."""
    call(
        "explorer.users.user_process:_import", reference, what=f"the import of {reference!r}", patience_s=None
    )


def _import(reference: str) -> None:
    functions.user_function(reference)


def _kill_marked(mark: str) -> None:
    """Kill what the user's code has started in a process with this mark, also in groups of its own."""
    import psutil

    for _ in range(KILL_ROUNDS):  # what is found may just have started another process
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                    process.kill()
                    found = True
        if not found:
            break


def _print_to_stderr(message: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(message, file=sys.stderr, flush=True)


def _kills_for_memory() -> int:
    """Return how many processes Linux has killed because memory was full; 0 elsewhere."""
    with contextlib.suppress(OSError):
        counts = re.search(r"^oom_kill (\d+)", Path("/proc/vmstat").read_text(), re.MULTILINE)
        return int(counts[1]) if counts else 0
    return 0


def free_bytes() -> int:
    """Return the free memory of this machine, or of the container that this process is in."""
    import psutil

    free = [psutil.virtual_memory().available]
    for folder, most, used in (
        ("/sys/fs/cgroup", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # there is no limit
            free.append(int(Path(folder, most).read_text()) - int(Path(folder, used).read_text()))
    return max(0, min(free))


# In the process ---------------------------------------------------------------------------------------


_senders: list[Callable[[Any], None]] = []  # sends to the caller


def send_to_caller(value: Any) -> None:
    """Send a value to the caller before the function that it has called returns."""
    for send in _senders:
        send(value)


def serve() -> None:
    """Answer calls until the caller ends. What the user's code prints goes to the caller's end of stderr."""
    global _inside
    _inside = True
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    faulthandler.enable(file=int(sys.argv[1]))
    _trace_exit(int(sys.argv[1]))
    limit, mark = _limit_memory(), os.environ[MARK]
    lock, waiting = threading.Lock(), queue.SimpleQueue[Any]()

    def send(kind: str, value: Any = None) -> None:
        with lock:
            pickle.dump((kind, value), answers)
            answers.flush()

    _senders.append(lambda value: send("told", value))

    def receive() -> None:
        try:
            while True:
                waiting.put(pickle.load(requests))
        except BaseException:  # the caller has ended
            try:
                _kill_marked(mark)
            finally:
                os.killpg(0, signal.SIGKILL)

    def beat() -> None:
        seen = functions.calls
        while True:
            time.sleep(BEAT_S)
            if functions.calls != seen:
                seen = functions.calls
                send("progress")

    for work in (receive, beat):
        threading.Thread(target=work, daemon=True).start()
    try:
        _answer_calls(waiting, send, limit)
    except BaseException:  # of this module: threads would keep the process alive
        traceback.print_exc()
        os._exit(1)


def _answer_calls(waiting: queue.SimpleQueue[Any], send: Callable[[str, Any], None], limit: int) -> None:
    """Answer calls without end."""
    functions.forked = forked = mmap.mmap(-1, 1)  # shared with copies that the user's code forks
    pid = _end_copies(forked)
    while True:
        state, function, arguments = waiting.get()
        _take_over(*state)
        kind = "answer"
        try:
            value = resolve(function)(*arguments)
        except BaseException as error:
            kind, value = "error", _sendable(error, limit)
            if isinstance(error, SystemExit):
                kind, value = "left", f"{functions.exit_call(error)}, in {functions.place_of(error)}"
        if os.getpid() != pid:
            forked[0] = 1
            os._exit(0)
        if _has_forked(forked):
            kind, value = "left", functions.FORKED
        _note_modules()
        send(kind, value)


def _end_copies(mark: mmap.mmap) -> int:
    """Let forked copies of this process end at their next call of a module, with 1 in the shared ``mark``.

    Otherwise each would go on with this process's work, and fork again. Processes of :mod:`multiprocessing`,
    which do other work, are left alone. Returns the id of this process.
    """

    def end(*_: Any) -> None:
        if not any(frame.f_code.co_name == "_bootstrap" for frame, _ in traceback.walk_stack(None)):
            mark[0] = 1
            os._exit(0)

    def watch() -> None:
        if torch := sys.modules.get("torch"):
            torch.nn.modules.module.register_module_forward_pre_hook(end)

    os.register_at_fork(after_in_child=watch)
    return os.getpid()


def _has_forked(mark: mmap.mmap) -> bool:
    """Return whether a forked copy of this process went on with its work, and forget it."""
    with contextlib.suppress(ChildProcessError):  # there is no child
        for _ in range(20):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if mark[0]:
                break
            time.sleep(0.01)
    forked, mark[0] = bool(mark[0]), 0
    return forked


def _take_over(
    folder: str, path: list[str], environment: dict[str, str], objects: dict[str, given.Given]
) -> None:
    """Take over folder, path, environment and new objects of the caller.

    Forget the user's modules if one has changed.
    """
    with contextlib.suppress(OSError):
        os.chdir(folder)
    sys.path[:] = path
    for name in os.environ.keys() - environment.keys() - {MARK}:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if name != MARK})
    importlib.invalidate_caches()
    if any(stamp != _state_of_module(name, file) for name, (file, stamp) in _users_modules.items()):
        for name in _users_modules:
            sys.modules.pop(name, None)
        _users_modules.clear()
        given.forget_made()
    given.keep(objects)


_users_modules: dict[str, tuple[str, Any]] = {}  # file and stamp of each imported module of the user's
_other_modules: set[str] = {"__main__"}  # other modules


def _note_modules() -> None:
    """Note the modules of the user's that were imported since the last call."""
    for name in sys.modules.keys() - _users_modules.keys() - _other_modules:
        file = getattr(sys.modules[name], "__file__", None)
        if file and name.partition(".")[0] != "explorer" and is_local(Path(file)):
            _users_modules[name] = file, _state_of_module(name, file)
        else:
            _other_modules.add(name)


def _state_of_module(name: str, file: str) -> Any:
    """Return what changes if the module is edited, or if another file has its name."""
    found = PathFinder.find_spec(name) if "." not in name else None
    with contextlib.suppress(OSError):
        return os.stat(file).st_mtime_ns, found and found.origin
    return None


def _trace_exit(file: int) -> None:
    """Let ``os._exit`` write where it is called."""
    end, pid = os._exit, os.getpid()

    def traced(code: int) -> None:
        if os.getpid() == pid:
            faulthandler.dump_traceback(file)
        end(code)

    os._exit = traced  # pyright: ignore[reportAttributeAccessIssue]


def _limit_memory() -> int:
    """Limit the memory of this process to what is free, and return the limit in bytes; 0 means none."""
    with contextlib.suppress(OSError):  # Linux should end this process before others
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError, ValueError):
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        free = int(FREE_SHARE * free_bytes())
        limit = free if soft == resource.RLIM_INFINITY else min(soft, free)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
        return limit
    return 0


def resolve(function: str) -> Callable[..., Any]:
    """Return Explorer's function of this name, ``module:function`` or ``module:class.method``."""
    module, _, name = function.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _sendable(error: BaseException, limit: int) -> BaseException:
    """Return an error that can be sent, with the place in the user's code and the traceback as its cause."""
    told = "".join(traceback.format_exception(error))
    place = functions.place_of(error, "")
    said = message_of(error)
    of_gpu = isinstance(error, MemoryError) and error.__cause__ is not None  # it says what is needed
    if not of_gpu and (isinstance(error, MemoryError) or "can't allocate memory" in said):
        error = MemoryError(f"not enough memory, of which {size(limit)} were free {said}".strip())
    try:
        str(pickle.loads(pickle.dumps(error)))
    except Exception:
        error = RuntimeError(": ".join(filter(None, [type(error).__name__, said])))
    error.place = place  # pyright: ignore[reportAttributeAccessIssue]
    error.traceback = told  # pyright: ignore[reportAttributeAccessIssue]
    return error
