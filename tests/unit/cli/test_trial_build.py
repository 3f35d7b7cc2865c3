"""The doctor's finding for a trial build that did not succeed."""

from typing import Any

import pytest

from shuttle.cli.trial_build import Observed, diagnosis

URL = "http://shuttle.example.com"


def said(
    state: str = "failed",
    *,
    claimed: bool = True,
    number: int | None = 1,
    waits: str | None = None,
    console: str = "",
    label: str = "",
    log_arrived: bool = True,
) -> str | None:
    build: dict[str, Any] = {
        "state": state,
        "message": "The build failed.",
        "waiting_for": "Jenkins: out of reach.",
        "timestamps": {"running_at": "2026-01-01T00:00:00Z" if claimed else None},
        "jenkins": {"build_number": number},
    }
    return diagnosis(Observed(build, waits, console, log_arrived), URL, label, 60)


def test_success_is_no_problem():
    assert said("succeeded") is None


def test_missing_log_is_a_problem():
    assert said("succeeded", log_arrived=False) == "succeeded, but its log did not arrive."


def test_missing_declarative_plugin_is_named():
    console = "java.lang.NoSuchMethodError: No such DSL method 'pipeline' found among steps [archive, bat]\n\tat x\n"
    assert "Pipeline: Declarative (pipeline-model-definition); install it" in (
        said(claimed=False, console=console) or ""
    )


@pytest.mark.parametrize(
    ("label", "asks"), [("linux", "the label linux (SHUTTLE_JENKINS_AGENT_LABEL)"), ("", "no label")]
)
def test_build_without_an_agent_shows_the_reason_of_the_queue(label, asks):
    sentence = said("queued", claimed=False, waits="All nodes of label linux are offline", label=label)
    assert sentence == (
        f"no agent took it within 60 s. It asks for {asks}; Jenkins says: All nodes of label linux are offline"
    )


def test_unclaimed_build_shows_the_address_and_the_end_of_the_console():
    console = "".join(f"line {number}\n" for number in range(9)) + "\nsh: 1: curl: not found\n"
    sentence = said(claimed=False, console=console) or ""
    assert f"an agent must be free, have curl and reach {URL} (BUILD_SHUTTLE_HOST)." in sentence
    assert sentence.endswith("Jenkins says: line 4 | line 5 | line 6 | line 7 | line 8 | sh: 1: curl: not found")


def test_claimed_build_that_fails_shows_its_message():
    assert said() == "failed: The build failed."


def test_build_that_does_not_end_shows_what_it_waits_for():
    assert said("staged", claimed=False, number=None) == (
        "did not end within 60 s. It waits for: Jenkins: out of reach."
    )
