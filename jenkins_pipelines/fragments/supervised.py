"""The fragment that runs a build on an agent by the supervisor: one stage with one `sh` step."""

from collections.abc import Sequence

from jenkins_pipelines.fragment import Fragment
from jenkins_pipelines.models import Branch, Parameter, Stage
from jenkins_pipelines.shell_scripts import supervisor

PARAMETERS = (
    Parameter(name="BUILD_UUID", description="The build's uuid; the shuttle finds this Jenkins build by it."),
    Parameter(name="SHUTTLE_URL", description="The shuttle's base URL as the agent sees it."),
    Parameter(name="SHUTTLE_TOKEN", kind="password", description="Claims this build; it is valid for nothing else."),
)

# Jenkins shows branches as stages. This name has a space, so no branch can have it.
_PARALLEL = "all branches"


def supervised(*scripts: str, state: int | None = None, branches: Sequence[str] = ()) -> Fragment:
    """Claim the build with Jenkins' number, fetch its source, then run the named scripts of `shell/`.

    It is one step, so no token is passed between steps, where the user's process could read it. The visible stages are
    those that the scripts report to the shuttle. With `branches`, each of them runs the scripts, at the same time as
    the others, with a claim and a stream of its own. `state` replaces the code of the stage `build`.
    """
    steps = (supervisor(*scripts),)
    if branches:
        parallel = tuple(Branch(name=name, steps=steps) for name in branches)
        return Fragment(parameters=PARAMETERS, stages=(Stage(name=_PARALLEL, state=state, parallel=parallel),))
    return Fragment(parameters=PARAMETERS, stages=(Stage(name="build", state=state, steps=steps),))
