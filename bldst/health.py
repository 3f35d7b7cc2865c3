"""bldst health: exit 0 only if the service works."""

from bldst.answers import printable
from bldst.run import Run

_GOOD = ("ready", "healthy", "operational")


def check(run: Run) -> int:
    """Ask the service for its health; say it in a sentence, print the data if a format was asked for."""
    answer = run.client.send(run.command.method, run.command.path)
    data = answer.data() if answer.status == 503 else answer.require_success()
    status = data.get("status") if isinstance(data, dict) else None
    if status is None:
        run.say(answer.refusal())
        return 1
    if run.output.chosen or run.command.names[0] == "status":
        run.output.show_data(data, run.command)
    parts = [f"{name} {data[name]}" for name in ("database", "cache") if isinstance(data.get(name), str)]
    run.say(
        printable("the service is {}".format(": ".join([str(status), ", ".join(parts)] if parts else [str(status)])))
    )
    return 0 if answer.succeeded and status in _GOOD else 1
