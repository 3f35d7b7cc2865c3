"""Runs a build's pipeline from `Start of Pipeline` to its result: agent, options, stages, branches, post."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from jenkins_emulator.generations import Generation
from jenkins_emulator.pipeline import (
    POST_CONDITIONS,
    AllOf,
    AnyOf,
    Condition,
    EnvironmentIs,
    Not,
    Pipeline,
    Stage,
    Step,
)
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.scopes import InterruptedStepError, Scope, StepFailedError
from jenkins_emulator.steps import Place, Steps

# hudson.model.Result, best to worst: a build's result never improves.
RESULTS = ("SUCCESS", "UNSTABLE", "FAILURE", "NOT_BUILT", "ABORTED")
_ERROR_ID = "org.jenkinsci.plugins.workflow.actions.ErrorAction$ErrorId"


class Agent(Protocol):
    """Provides a build's executor and workspace."""

    async def acquire(self, label: str | None, scope: Scope) -> Mapping[str, str]:
        """Wait for an executor; returns the variables that the node adds, among them WORKSPACE.

        Raises InterruptedStepError if it is interrupted through `scope`.
        """

    async def release(self) -> None:
        """End the processes that still run there, and release the executor and the workspace."""


class Execution:
    """Runs a compiled pipeline. Run again with the same recorder, it continues where it was."""

    def __init__(
        self,
        pipeline: Pipeline,
        recorder: Recorder,
        steps: Steps,
        agent: Agent,
        scope: Scope,
        *,
        generation: Generation,
    ) -> None:
        """`scope` is that of the whole build: interrupting it interrupts the running steps."""
        self._generation = generation
        self._pipeline = pipeline
        self._recorder = recorder
        self._steps = steps
        self._agent = agent
        self._scope = scope
        self.result = "SUCCESS"

    async def run(self, environment: Mapping[str, str]) -> str:
        """Run it; returns the result. `environment` is that of `sh`, without the node's variables."""
        self._steps.engine_line("start", "Start of Pipeline")
        self._steps.engine_line("node", "node")
        failure: StepFailedError | None = None
        try:
            added = await self._agent.acquire(self._pipeline.label, self._scope)
            try:
                await self._on_agent(Path(added["WORKSPACE"]), {**environment, **added})
            except StepFailedError:
                await self._agent.release()
                raise
            await self._agent.release()
        except StepFailedError as error:
            failure = error
            self._worsen(error.result)
        self._steps.engine_line("node:end", "// node")
        self._steps.engine_line("end", "End of Pipeline")
        if failure is not None and failure.message:
            self._recorder.line(
                "error", failure.message if failure.result == "ABORTED" else f"ERROR: {failure.message}"
            )
        if isinstance(failure, InterruptedStepError) and self._generation.prints_error_id:
            error_id = self._recorder.remember("error-id", str(uuid.uuid4()))
            self._recorder.line("error-id:line", f"{_ERROR_ID}: {error_id}")
        return self.result

    async def _on_agent(self, workspace: Path, environment: Mapping[str, str]) -> None:
        self._recorder.line("running-on", f"Running on Jenkins in {workspace}", linked="Jenkins")
        place = Place("", workspace, environment, self._scope)
        self._steps.engine_line("node:open", "{")
        failure: StepFailedError | None = None
        try:
            await self._within_options(place)
        except StepFailedError as error:
            failure = error
        self._steps.engine_line("node:close", "}")
        if failure is not None:
            raise failure

    async def _within_options(self, place: Place) -> None:
        # Jenkins first allocates a top-level agent, and then starts the pipeline's time limit.
        if self._pipeline.options.timeout_seconds is None:
            await self._stages_and_post(place)
            return
        async with self._steps.time_limit(self._pipeline.options.timeout_seconds, place.at("options")) as limited:
            await self._stages_and_post(limited)

    async def _stages_and_post(self, place: Place) -> None:
        failure: StepFailedError | None = None
        try:
            await self._stages(self._pipeline.stages, place.at("stages"))
        except StepFailedError as error:
            failure = error
        if self._post_applies(self._pipeline.post, place.at("post")):
            with self._steps.block(f"{place.key}/post", "stage", "Declarative: Post Actions"):
                failure = await self._post(self._pipeline.post, place.at("post")) or failure
        if failure is not None:
            raise failure

    async def _stages(self, stages: tuple[Stage, ...], place: Place) -> None:
        failure: StepFailedError | None = None
        for index, stage in enumerate(stages):
            try:
                await self._stage(stage, place.at(index), skipped=failure is not None)
            except StepFailedError as error:
                failure = error
                self._worsen(error.result)
        if failure is not None:
            raise failure

    async def _stage(self, stage: Stage, place: Place, *, skipped: bool = False) -> None:
        place = replace(place, environment={**place.environment, "STAGE_NAME": stage.name})
        with self._steps.block(place.key, "stage", stage.name):
            if skipped:
                self._skip(stage, place, "earlier failure(s)")
            elif stage.when is not None and not _holds(stage.when, place.environment):
                self._skip(stage, place, "when conditional")
                if self._generation.prints_get_context:
                    self._steps.engine_line(f"{place.key}:context", "getContext")
            else:
                await self._stage_body(stage, place)

    def _skip(self, stage: Stage, place: Place, why: str) -> None:
        self._recorder.line(f"{place.key}:skipped", f'Stage "{stage.name}" skipped due to {why}')

    async def _stage_body(self, stage: Stage, place: Place) -> None:
        failure: StepFailedError | None = None
        try:
            if stage.parallel is not None:
                await self._parallel(stage.parallel, place.at("parallel"))
            elif stage.stages is not None:
                await self._stages(stage.stages, place.at("stages"))
            else:
                await self._steps.run(stage.steps or (), place.at("steps"))
        except StepFailedError as error:
            failure = error
            self._worsen(error.result)
        if self._post_applies(stage.post, place.at("post")):
            self._recorder.line(f"{place.key}:post", "Post stage")
            failure = await self._post(stage.post, place.at("post")) or failure
        if failure is not None:
            raise failure

    async def _parallel(self, stages: tuple[Stage, ...], place: Place) -> None:
        self._steps.engine_line(f"{place.key}:name", "parallel")
        for stage in stages:
            self._steps.engine_line(f"{place.key}/{stage.name}:open", f"{{ (Branch: {stage.name})")
        branches = [asyncio.ensure_future(self._branch(stage, place.at(index))) for index, stage in enumerate(stages)]
        try:
            failures = [failure for failure in await asyncio.gather(*branches) if failure is not None]
        finally:
            for branch in branches:
                branch.cancel()
        self._steps.engine_line(f"{place.key}:end", "// parallel")
        if failures:
            raise max(failures, key=lambda failure: RESULTS.index(failure.result))

    async def _branch(self, stage: Stage, place: Place) -> StepFailedError | None:
        failure: StepFailedError | None = None
        try:
            await self._stage(stage, place)
        except StepFailedError as error:
            failure = error
            self._worsen(error.result)
        self._steps.engine_line(f"{place.key}:branch-end", "}")
        if failure is not None:
            self._recorder.line(f"{place.key}:failed", f"Failed in branch {stage.name}")
        return failure

    def _post_applies(self, post: Mapping[str, tuple[Step, ...]], place: Place) -> bool:
        if self._steps.unstable:
            self._worsen("UNSTABLE")
        # Recorded, because after a restart the parallel branches may have continued further.
        return bool(
            self._recorder.remember(f"{place.key}:applies", any(_post_holds(name, self.result) for name in post))
        )

    async def _post(self, post: Mapping[str, tuple[Step, ...]], place: Place) -> StepFailedError | None:
        """Run every condition that applies; a failing one worsens the result, and the others still run."""
        failure: StepFailedError | None = None
        for condition in (name for name in POST_CONDITIONS if name in post):
            if not self._recorder.remember(f"{place.key}/{condition}:holds", _post_holds(condition, self.result)):
                continue
            try:
                await self._steps.run(post[condition], place.at(condition))
            except StepFailedError as error:
                self._recorder.line(
                    f"{place.key}/{condition}:failed", f"Error when executing {condition} post condition:"
                )
                self._recorder.line(f"{place.key}/{condition}:why", error.message or "interrupted")
                failure = error
                self._worsen(error.result)
        return failure

    def _worsen(self, result: str) -> None:
        if RESULTS.index(result) > RESULTS.index(self.result):
            self.result = result


def _holds(condition: Condition, environment: Mapping[str, str]) -> bool:
    match condition:
        case EnvironmentIs(name, value):
            return environment.get(name) == value
        case Not(inner):
            return not _holds(inner, environment)
        case AllOf(inner_conditions):
            return all(_holds(inner, environment) for inner in inner_conditions)
        case AnyOf(inner_conditions):
            return any(_holds(inner, environment) for inner in inner_conditions)


def _post_holds(condition: str, result: str) -> bool:
    match condition:
        case "always" | "cleanup":
            return True
        case "unsuccessful":
            return result != "SUCCESS"
    return condition.upper() == result
