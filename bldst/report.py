"""bldst build report: a build and its children, for the end of a pipeline that fans out."""

from typing import Any, Dict, Iterator, List

from bldst.run import Run, objects
from bldst.tables import shown


def report(run: Run) -> int:
    """Print the report: text, or JSON with `-o json`."""
    build = run.ask_object("GET", "/builds/{build}")
    children = [_described(run, _read(run, child)) for child in objects(build.get("children"))]
    data = {**_described(run, build), "children": children, "summary": _summary(children)}
    if run.output.chosen == "json":
        run.output.json(data)
        return 0
    for line in _lines(data):
        run.output.line(line)
    return 0


def _read(run: Run, child: Dict[str, Any]) -> Dict[str, Any]:
    """All fields of a child, because its parent's record has only a few of them."""
    run.places["child"] = child.get("id")
    return run.ask_object("GET", "/builds/{child}")


def _described(run: Run, build: Dict[str, Any]) -> Dict[str, Any]:
    """The fields of a build that the report shows, and the paths of its final artifacts."""
    run.places["child"] = build.get("id")
    finals = objects(run.ask("GET", "/builds/{child}/artifacts", query={"is_final": True}))
    failures = objects(build.get("failures"))
    platform = build.get("platform")
    return {
        "id": build.get("id"),
        "build_number": build.get("build_number"),
        "platform": platform.get("name") if isinstance(platform, dict) else platform,
        "status": build.get("status"),
        "current_state": build.get("current_state"),
        "duration_seconds": build.get("duration_seconds"),
        "image": build.get("ami_id") or build.get("image_id"),
        "artifacts": [artifact.get("artifact_path") for artifact in finals],
        "failure": failures[-1].get("error_message") if failures else None,
    }


def _summary(children: List[Dict[str, Any]]) -> Dict[str, int]:
    summary = {"total": len(children), "completed": 0, "failed": 0}
    for child in children:
        status = str(child["status"])
        summary[status] = summary.get(status, 0) + 1
    return summary


def _lines(data: Dict[str, Any]) -> Iterator[str]:
    yield "Build {}: {}".format(shown(data["build_number"]), _state(data))
    for child in data["children"]:
        yield "  {}: {}".format(shown(child["build_number"]), _state(child))
    summary = data["summary"]
    if summary["total"]:
        yield "{completed} of {total} children are completed, {failed} failed".format(**summary)


def _state(build: Dict[str, Any]) -> str:
    words = ["{} at state {}".format(shown(build["status"]), shown(build["current_state"]))]
    seconds = build["duration_seconds"]
    if isinstance(seconds, (int, float)):
        words.append(f"{int(seconds) // 60}:{int(seconds) % 60:02d} min")
    # The image is often recorded as an artifact as well, and is shown once.
    results = dict.fromkeys([build["image"], *build["artifacts"], build["failure"]])
    return ", ".join(words + [shown(result) for result in results if result])
