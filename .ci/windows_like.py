"""Make this system resemble Windows where oscine could notice; as sitecustomize.py it does so in all processes of a command.

Not there: POSIX's modules and, for oscine, its signals and calls. Processes are spawned. In the folder WINDOWS_LIKE no file
can be renamed, replaced or removed while this process has it open or mapped, and no folder takes the place of another.
"""

# What chooses by the modules that will not be there, when it is imported, has to choose for the real system.
import multiprocessing
import multiprocessing.resource_tracker
import os
import selectors  # noqa: F401
import signal
import socket  # noqa: F401
import subprocess  # noqa: F401
import sys
import tempfile  # noqa: F401

FOLDER = os.path.realpath(os.environ["WINDOWS_LIKE"]) + os.sep


def refuse_if_open(path):
    """Raise what Windows does of a file that is open."""
    name = os.path.realpath(os.fspath(path))
    if not name.startswith(FOLDER) or os.path.isdir(name) or not os.path.exists(name):
        return
    with open("/proc/self/maps", encoding="utf-8") as maps:
        mapped = any(line.rstrip("\n").endswith(name) for line in maps)
    numbers = [number for number in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{number}")]
    if mapped or any(os.path.realpath(f"/proc/self/fd/{number}") == name for number in numbers):
        raise PermissionError(
            13, "The process cannot access the file because it is being used by another process", name
        )


def guarded(call):
    """A call of os on one path or two that refuses as Windows would."""

    def guard(*paths, **how):
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)) and not how.get("dir_fd"):
                refuse_if_open(os.fsdecode(path))
        if len(paths) == 2 and os.path.isdir(paths[1]):
            raise PermissionError(13, "Access is denied", os.fsdecode(paths[1]))
        return call(*paths, **how)

    return guard


def hide(module, names):
    """Take names from a module, for oscine alone: other libraries choose by the real system."""
    hidden = {name: module.__dict__.pop(name) for name in names.split()}

    def find(name):
        if name not in hidden or sys._getframe(1).f_globals["__name__"].startswith("oscine"):
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
        return hidden[name]

    module.__getattr__ = find


for name in ("replace", "rename", "unlink", "remove"):
    setattr(os, name, guarded(getattr(os, name)))
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty", "pty"):
    sys.modules[name] = None
hide(signal, "SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGCHLD SIGKILL SIGQUIT alarm pause pthread_sigmask setitimer")
hide(os, "chown fork getuid geteuid getgid nice sync sched_getaffinity sysconf statvfs uname O_DIRECTORY")
multiprocessing.set_start_method("spawn")
