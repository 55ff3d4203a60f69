"""What goes wrong, as one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

FAILED, USAGE, INPUT, OUTPUT, MISSING, BUG, INTERRUPTED, CLOSED, TERMINATED = (
    1,
    2,
    3,
    4,
    5,
    70,
    130,
    141,
    143,
)

EXIT_CODES = """\b
Exit codes:
    0  done
    1  a comparison or verification failed
    2  the command line makes no sense
    3  an input cannot be read or is not valid
    4  an output cannot be written, or exists
    5  an optional package is missing
   70  an error that inrv did not foresee
  130  interrupted
  141  the reader of stdout closed it
  143  terminated"""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))

QUOTES = "'\""
ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")  # as messages of the library name its arguments

F = TypeVar("F", bound=Callable[..., Any])


class Failure(Exception):
    """An error whose exit code is known."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class Program(click.Group):
    """A group of commands, listed as they were added, whose errors end in one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the subcommands."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            with _termination():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            terminated = isinstance(error, Terminated)
            click.echo(
                ": ".join(
                    ["inrv", "terminated" if terminated else "interrupted", *map(str, error.args)]
                ),
                err=True,
            )
            ctx.exit(TERMINATED if terminated else INTERRUPTED)
        except BrokenPipeError:  # the reader of our output has had enough
            ctx.exit(CLOSED)
        except Exception as error:
            ctx.exit(report(error))


@contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM raises Terminated in here, unless it is being ignored."""
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    ):
        yield
        return

    def terminate(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def occupy_descriptors() -> None:
    """Open descriptors 0 to 2 where they are closed: a library's message would else end up in a file that got the number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def settle_stdout() -> None:
    """Drop what stdout does not take: the error has been told, Python would tell it again when it ends."""
    if _stdout_fails():
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stdout_fails() -> bool:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        return True
    return False


def _remember_debug(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.find_root().meta["debug"] = True


def debug_option(command: F) -> F:
    """Give a command --debug, so that it is understood before and after the subcommand."""
    decorate = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show the traceback of an error.",
    )
    return decorate(command)


def report(error: Exception, about: object = "", silent: bool = False) -> int:
    """Print one line about `error`, unless `silent`, with --debug its traceback before; return its exit code.

    The line begins with the file `about` where the error itself does not name it. BrokenPipeError is raised again.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, OSError) and (
        error.errno in NO_ROOM or _stdout_fails()
    ):  # our files come with OutputError
        error = Failure(OUTPUT, f"stdout cannot be written: {error.strerror or error}")
    code = exit_code(error)
    if silent:
        return code
    if click.get_current_context().find_root().meta.get("debug"):
        traceback.print_exception(error)
    message = (
        f"{type(error).__name__}: {error} (unforeseen: --debug shows where)"
        if code == BUG
        else message_of(error)
    )
    if str(about) not in message and not isinstance(error, Failure):
        message = f"{about}: {message}"
    click.echo(f"inrv: error: {' '.join(message.split())}", err=True)
    return code


def message_of(error: Exception) -> str:
    """What the library says, its arguments, `max_error='1%'`, as the options of the command line: --max-error 1%."""
    options = _options()

    def option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        return (
            options[name] if value in (None, "True") else f"{options[name]} {value.strip(QUOTES)}"
        )

    return ARGUMENT.sub(option, str(error))


def _options() -> dict[str, str]:
    """The options of all commands by the names of the arguments that they become in Python."""
    program = click.get_current_context().find_root().command
    commands = program.commands.values() if isinstance(program, click.Group) else (program,)
    options = (
        option
        for command in commands
        for option in command.params
        if isinstance(option, click.Option)
    )
    return {"overwrite": "--force"} | {str(option.name): option.opts[-1] for option in options}


def exit_code(error: Exception) -> int:
    """The exit code that stands for an error."""
    from inrv.errors import InrvError, OptionError, OutputError, OutputExistsError

    if isinstance(error, Failure):
        return error.code
    if isinstance(error.__cause__, ImportError):
        return MISSING
    for kind, code in (
        (OptionError, USAGE),
        ((OutputError, OutputExistsError), OUTPUT),
        (InrvError, INPUT),
        (OSError, INPUT),
    ):
        if isinstance(error, kind):
            return code
    return BUG


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Errors in here mean that the output `path` cannot be written."""
    from inrv.errors import InrvError

    try:
        yield
    except InrvError as error:
        raise Failure(OUTPUT, str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise Failure(OUTPUT, f"{path} cannot be written: {error.strerror or error}") from error
