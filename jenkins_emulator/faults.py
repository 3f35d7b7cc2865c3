"""What a test can make go wrong in a Jenkins that answers; `startup.py` has what goes wrong while it starts."""

from jenkins_emulator.controller import Controller
from jenkins_emulator.jobs import Job
from jenkins_emulator.step_end import AgentLoss


class Faults:
    """Reached through `EmulatedJenkins.faults`."""

    def __init__(self, controller: Controller) -> None:
        """`controller` is the running one."""
        self._controller = controller

    def make_ghost(self, job: str) -> None:
        """The job's next build says `building: true` for ever, and stop, term and kill change nothing.

        Recorded of a Jenkins that was killed in a build's first two seconds.
        """
        self._controller.haunt(self._job(job))

    def lose_agent(self, job: str, number: int, *, seconds: float = 300.0, node: str = "ag1") -> None:
        """A running build's agent goes away and does not come back.

        The build is ABORTED after `seconds`; its processes run on, and nothing of their output arrives any more.
        """
        self._controller.lose_agent(self._job(job).builds[number], AgentLoss(node, seconds))

    def _job(self, name: str) -> Job:
        item = self._controller.top.find(name.split("/"))
        if not isinstance(item, Job):
            raise LookupError(f"no job {name}")  # noqa: TRY004  # the name is what is wrong
        return item
