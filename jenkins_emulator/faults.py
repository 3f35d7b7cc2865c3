"""Faults that a test can cause in a running Jenkins; those of a starting one are in `startup.py`."""

from jenkins_emulator.controller import Controller
from jenkins_emulator.jobs import Job
from jenkins_emulator.step_end import AgentLoss


class Faults:
    """The faults of one Jenkins; see `EmulatedJenkins.faults`."""

    def __init__(self, controller: Controller) -> None:
        """`controller` is the running one."""
        self._controller = controller

    def make_ghost(self, job: str) -> None:
        """Make the job's next build report `building: true` for ever; stop, term and kill have no effect.

        Recorded from a Jenkins that was killed in the first two seconds of a build.
        """
        self._controller.make_ghost(self._job(job))

    def lose_agent(self, job: str, number: int, *, seconds: float = 300.0, node: str = "ag1") -> None:
        """Remove the agent of a running build permanently.

        The build is ABORTED after `seconds`; its processes continue, but their output does not arrive any more.
        """
        self._controller.lose_agent(self._job(job).builds[number], AgentLoss(node, seconds))

    def _job(self, name: str) -> Job:
        item = self._controller.top.find(name.split("/"))
        if not isinstance(item, Job):
            raise LookupError(f"no job {name}")  # noqa: TRY004  # the name is wrong, not a type
        return item
