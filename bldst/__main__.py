"""The program: reads the command line, runs the command, turns errors into a sentence and an exit code."""

import os
import sys
from typing import Callable, Literal, Mapping, Optional, Sequence, TextIO

from bldst.errors import CommandError, UsageError


def main(
    arguments: Optional[Sequence[str]] = None,
    environment: Optional[Mapping[str, str]] = None,
    stdout: Optional[TextIO] = None,
    stderr: Optional[TextIO] = None,
    stdin: Optional[TextIO] = None,
) -> int:
    """Run one command.

    Args:
        arguments: The words after the program's name.
        environment: The environment.
        stdout: Gets data.
        stderr: Gets sentences.
        stdin: Read where an option has the value `-`.

    Returns:
        0; 1 if the service refused, failed or was not reached; 2 if the command line is wrong.
    """
    out, err = stdout or _standard(sys.stdout, "w"), stderr or _standard(sys.stderr, "w")

    def say(sentence: str) -> None:
        err.write("bldst: " + sentence + "\n")
        err.flush()

    words = [_text(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    try:
        code = _run(
            words, os.environ if environment is None else environment, out, say, stdin or _standard(sys.stdin, "r")
        )
        out.flush()
    except UsageError as error:
        say(str(error))
        return 2
    except CommandError as error:
        say(str(error))
        return 1
    except OSError as error:
        # Python would report the same error again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            say(f"stdout cannot be written: {error.strerror}")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _run(
    words: Sequence[str], environment: Mapping[str, str], out: TextIO, say: Callable[[str], None], stdin: TextIO
) -> int:
    from bldst.command_line import read_line
    from bldst.config_file import ConfigFile, config_path
    from bldst.output import Output
    from bldst.settings import Settings, variable

    line = read_line(words, variable(environment, "BUILD_ID"))
    if line.general.get("version"):
        from bldst import __version__

        out.write("bldst " + __version__ + "\n")
        return 0
    if line.general.get("help") or line.command is None:
        from bldst.help import help_text

        out.write(help_text(line.noun, line.command))
        return 0
    from bldst.run import Run, run_command

    file = ConfigFile(config_path(environment, line.general.get("config")), say)
    settings = Settings(environment, file, verbose=bool(line.general.get("verbose")))
    output = Output(out, line.output)
    return run_command(Run(line.command, line, settings=settings, output=output, stdin=stdin, say=say))


def _text(word: str) -> str:
    """Replace bytes that are no UTF-8: the last line of a log is a valid message, whatever it contains."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _standard(stream: Optional[TextIO], mode: Literal["r", "w"]) -> TextIO:
    """Return a standard stream that prints characters that its encoding lacks as escapes; a closed one is empty."""
    if stream is None:
        return open(os.devnull, mode, encoding="utf-8")
    if mode == "w" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
    return stream


if __name__ == "__main__":
    sys.exit(main())
