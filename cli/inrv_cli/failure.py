"""What goes wrong, as one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from inrv_cli.options import F

FAILED = 1
USAGE = 2
INPUT = 3
OUTPUT = 4
MISSING = 5
BUG = 70
INTERRUPTED = 130
CLOSED = 141
TERMINATED = 143

EXIT_CODES = """\b
Exit codes:
    0  everything went well
    1  a comparison or a verification failed
    2  the command line makes no sense
    3  an input cannot be read, or is not valid
    4  an output cannot be written, or is there already
    5  an optional package is missing
   70  inrv did not foresee this error
  130  the command was interrupted
  141  the reader of stdout closed it
  143  the command was terminated"""

NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))

# How messages of the library name its arguments: `size` or `size=100`.
ARGUMENT = re.compile(r"`(\w+)(?:=([^`]*))?`")
QUOTES = "'\""

# click raises it to print the help where no argument is given. click 8.1 does not have it.
NoArguments = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Failure(Exception):
    """An error whose exit code is known."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Terminated(KeyboardInterrupt):
    """The signal SIGTERM came."""


class WrongUsage(click.ClickException):
    """A command line that makes no sense. It is shown as one line."""

    exit_code = USAGE

    def __init__(self, error: click.UsageError) -> None:
        super().__init__(error.format_message())
        self.where_to_look = "" if error.ctx is None else f" (see {error.ctx.command_path} --help)"

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        print_error(f"{self.message.rstrip('.')}{self.where_to_look}")


class Program(click.Group):
    """A group of commands. Errors are one line and an exit code."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the options that stand before the subcommand."""
        with _usage_on_one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            with _termination(), _usage_on_one_line():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt as error:
            terminated = isinstance(error, Terminated)
            what = "terminated" if terminated else "interrupted"
            click.echo(": ".join(["inrv", what, *map(str, error.args)]), err=True)
            ctx.exit(TERMINATED if terminated else INTERRUPTED)
        except BrokenPipeError:  # the reader of our output has had enough
            ctx.exit(CLOSED)
        except Exception as error:
            ctx.exit(report(error))


@contextmanager
def _usage_on_one_line() -> Iterator[None]:
    """Turn an error of usage into one that is shown as one line."""
    try:
        yield
    except NoArguments:
        raise
    except click.UsageError as error:
        raise WrongUsage(error) from error


@contextmanager
def _termination() -> Iterator[None]:
    """Raise Terminated where SIGTERM comes, unless the signal is ignored."""
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
    """Open the descriptors 0 to 2 where they are closed.

    A file that is opened later would get the number, and the messages of a library with it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def settle_stdout() -> None:
    """Drop what stdout does not take.

    The error has been reported already, and Python would report it again when it ends.
    """
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
    """Print one line about an error and return its exit code. Raises BrokenPipeError again.

    With --debug the traceback comes before the line.

    about: the file that the error is about; the line begins with it if the error does not name it
    silent: print nothing
    """
    if isinstance(error, BrokenPipeError):
        raise error
    # Our own files raise OutputError.
    if isinstance(error, OSError) and (error.errno in NO_ROOM or _stdout_fails()):
        error = Failure(OUTPUT, f"stdout cannot be written: {error.strerror or error}")
    code = exit_code(error)
    if silent:
        return code
    if click.get_current_context().find_root().meta.get("debug"):
        traceback.print_exception(error)
    message = message_of(error)
    if _is_missing_package(error):
        message = f"a package is missing: {error}"
    if code == BUG:
        message = f"{type(error).__name__}: {error} (unforeseen: --debug shows where)"
    if str(about) not in message and not isinstance(error, Failure):
        message = f"{about}: {message}"
    print_error(message)
    return code


def print_error(message: str) -> None:
    """Print a message as one line on stderr."""
    click.echo(f"inrv: error: {' '.join(message.split())}", err=True)


def message_of(error: Exception) -> str:
    """Return the message of an error, with the library's arguments as options of the command line.

    `max_error='1%'` becomes --max-error 1%.
    """
    options = _options_by_argument()

    def as_option(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        if value in (None, "True"):
            return options[name]
        return f"{options[name]} {value.strip(QUOTES)}"

    return ARGUMENT.sub(as_option, str(error))


def _options_by_argument() -> dict[str, str]:
    """Return the options of all commands, by the names of their arguments in Python."""
    root = click.get_current_context().find_root()
    program, commands = root.command, [root.command]
    if isinstance(program, click.Group):
        found = (program.get_command(root, name) for name in program.list_commands(root))
        commands = [command for command in found if command is not None]
    options = (
        option
        for command in commands
        for option in command.params
        if isinstance(option, click.Option)
    )
    return {"overwrite": "--force"} | {str(option.name): option.opts[-1] for option in options}


def exit_code(error: Exception) -> int:
    """Return the exit code that stands for an error."""
    from inrv.errors import (
        InrvError,
        MissingPackageError,
        OptionError,
        OutputError,
        OutputExistsError,
    )

    if isinstance(error, Failure):
        return error.code
    if _is_missing_package(error):
        return MISSING
    for kind, code in (
        (MissingPackageError, MISSING),
        (OptionError, USAGE),
        ((OutputError, OutputExistsError), OUTPUT),
        (InrvError, INPUT),
        (OSError, INPUT),
    ):
        if isinstance(error, kind):
            return code
    return BUG


def _is_missing_package(error: Exception) -> bool:
    """Return whether a package could not be imported that is not our own."""
    return isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("inrv")


@contextmanager
def writing(path: object) -> Iterator[None]:
    """Turn the errors within into Failures that say that the output `path` cannot be written."""
    from inrv.errors import InrvError

    try:
        yield
    except InrvError as error:
        raise Failure(OUTPUT, str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        raise Failure(OUTPUT, f"{path} cannot be written: {error.strerror or error}") from error
