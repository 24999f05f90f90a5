"""Processes that have torch already: each is forked from one that has imported it and done nothing else.

Many tests need a command in a process of its own, but not 1.5 s of imports in each. To `subprocess.run`,
`command("-m", "arvdm_cli", ...)` is the same as `[sys.executable, "-m", "arvdm_cli", ...]`: in streams, folder,
environment and exit status. Not for tests that signal their process, limit it or measure it: that is a messenger.

Run as a script, this file is the messenger, `warm.py ADDRESS WORDS...`, or the server, `warm.py serve ADDRESS`.
"""

import json
import os
import select
import signal
import socket
import struct
import sys

LENGTH = struct.Struct("<I")
servers = {}  # process id -> address: a fork of the tests has none


def command(*words):
    """What runs Python with these words; where forking is not safe, that is Python itself."""
    words = [*map(str, words)]
    return [sys.executable, "-IS", __file__, address(), *words] if sys.platform == "linux" else [sys.executable, *words]


def address():
    """Where the server of these tests listens; it is started when first needed, and ends when they do."""
    import subprocess
    import tempfile

    if os.getpid() not in servers:
        where = os.path.join(tempfile.mkdtemp(prefix="warm"), "s")  # pytest's own folders may be too long for a socket
        serve = [sys.executable, "-P", __file__, "serve", where]
        process = subprocess.Popen(serve, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout.read(1) == b"\n"  # it listens
        servers[os.getpid()] = where
        address.process = process  # its stdin is open for as long as the tests run
    return servers[os.getpid()]


# The messenger


def send(address, words):
    """Have words run by the server, with the streams of this process; returns the exit status."""
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        socket.send_fds(link, [b"-"], [0, 1, 2])
        message = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
        link.sendall(LENGTH.pack(len(message)) + message)
        with link.makefile("rb") as reply:
            return int(reply.read())


def end(status):
    """End as the process did that has run the words."""
    if status < 0:
        os.kill(os.getpid(), -status)
    os._exit(status)


# The server


def serve(address):
    """Answer messengers until the tests end; returns, in every process that is forked for one, the words to run."""
    import gc

    import safetensors.torch  # noqa: F401
    import torch  # noqa: F401

    gc.collect()
    gc.freeze()  # else each process that is forked copies all this as it collects garbage
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who answer
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"\n")
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                os.unlink(address)
                os.rmdir(os.path.dirname(address))
                os._exit(0)
            link, _ = listener.accept()
            with link:
                if os.fork() == 0:
                    listener.close()
                    return answer(link)


def answer(link):
    """Fork the process that runs the words, in which this returns them, and tell the messenger how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(link, 1, 3)
    with link.makefile("rb") as told:
        words, folder, environment = json.loads(told.read(*LENGTH.unpack(told.read(LENGTH.size))))
    if (runner := os.fork()) == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        link.close()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        return words
    for stream in (0, 1, 2, *streams):
        os.close(stream)
    watch = os.pidfd_open(runner)
    if link in select.select([watch, link], [], [])[0]:  # the messenger was killed
        os.kill(runner, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(runner, 0)[1])
    try:
        link.sendall(str(status).encode())
    finally:
        os._exit(0)


def become(words):
    """Do what `python WORDS` does: -m MODULE, -c CODE or FILE, with arguments."""
    import runpy
    import types

    elsewhere = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = [os.getcwd() if words[0] in ("-m", "-c") else os.path.dirname(os.path.abspath(words[0])), *elsewhere]
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(main))
    else:
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        become(serve(sys.argv[2]))
    else:
        end(send(sys.argv[1], sys.argv[2:]))
