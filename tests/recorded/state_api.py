"""The examples of docs/state-api.md: every call below `/-/state`."""

import re
from pathlib import Path

from tests.recorded.recorder import Recorder
from tests.support.inprocess import running_shuttle

_CONTROLLER, _READER = "controller-token-0001", "reader-token-0000001"
_TOKENS = {"SHUTTLE_TOKENS": f"controller:{_CONTROLLER},reader:{_READER}"}

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# The uptime differs from run to run.
_STATUS = """{
  "status": "operational",
  "uptime": "3 days, 4:05:06",
  "version": "0.1.0",
  "database": {"type": "postgresql", "status": "connected", "builds_count": 1204},
  "cache": {"status": "disabled"},
  "timestamp": "2030-01-01T10:00:00.000Z"
}"""


async def record(folder: Path) -> dict[str, str]:
    """Make every call to a service whose Jenkins is down: no build of it has to run."""
    async with running_shuttle(folder, **_TOKENS) as shuttle:
        shuttle.headers = {"X-API-Key": _CONTROLLER}
        calls = _Calls(shuttle, indents_long_json=True)
        await calls.health()
        await calls.login()
        await calls.downloads()
        await calls.projects()
        await calls.references()
        await calls.state_codes()
        await calls.resumable_states()
        await calls.builds()
        await calls.states()
        await calls.artifacts()
        await calls.variables()
        await calls.jobs()
        await calls.resume()
        await calls.dashboard()
        await calls.refusals()
        return calls.examples


class _Calls(Recorder):
    async def health(self) -> None:
        """The probes."""
        await self.call("health", "GET", "/-/state/health")
        await self.call("ready", "GET", "/-/state/ready")
        await self.call("status", "GET", "/-/state/status", show_answer=_STATUS)

    async def login(self) -> None:
        """A login, and what a token may do."""
        await self.call(
            "login", "POST", "/-/state/token", f"username=ci&password={_CONTROLLER}".encode(), headers=_FORM
        )
        await self.call("login-refused", "POST", "/-/state/auth/idm", {"username": "ci", "password": "wrong"})
        await self.call("me", "GET", "/-/state/users/me")

    async def downloads(self) -> None:
        """bldst itself; its bytes change with every version."""
        await self.call("bldst", "GET", "/-/state/bldst", show_answer="(a program)")
        await self.call("report-functions", "GET", "/-/state/report.sh", show_answer="(shell functions)")
        index = await self.call("pip", "GET", "/-/state/pip/simple/buildstate-cli/")
        [(name, digest)] = re.findall('href="(.+)#sha256=(.+?)"', index.text)
        self.names[digest] = "0123456789abcdef" * 4
        await self.call("wheel", "GET", f"/-/state/pip/simple/buildstate-cli/{name}", show_answer="(a wheel)")

    async def projects(self) -> None:
        """A project, by its uuid and by its name."""
        body = {"name": "images", "description": "Base images", "parent_project_id": None}
        self._project = (await self.call("project-post", "POST", "/-/state/projects", body)).json["id"]
        await self.call("project-list", "GET", "/-/state/projects?skip=0&limit=100")
        await self.call("project-get", "GET", "/-/state/projects/images")
        await self.call("project-put", "PUT", f"/-/state/projects/{self._project}", {"description": "All images"})

    async def references(self) -> None:
        """Every call about platforms, and an entry of each other kind."""
        body = {"name": "aws-us-east-1", "cloud_provider": "aws", "region": "us-east-1"}
        await self.call("platform-post", "POST", "/-/state/platforms", body)
        await self.call("platform-list", "GET", "/-/state/platforms?limit=10&include_deactivated=true")
        await self.call("platform-get", "GET", "/-/state/platforms/aws-us-east-1")
        await self.call("platform-put", "PUT", "/-/state/platforms/aws-us-east-1", {"display_name": "AWS, Virginia"})
        await self.call("platform-delete", "DELETE", "/-/state/platforms/aws-us-east-1")
        described = {"name": "hardened", "display_name": "Hardened", "description": None}
        for name, path, sent in (
            ("os-version", "os-versions", {"name": "rhel-9.3", "version": "9.3"}),
            ("image-type", "image-types", {"name": "base", "description": "Base image"}),
            ("cloud-provider", "cloud-providers", {"name": "aws", "display_name": "Amazon Web Services"}),
            ("os-distribution", "os-distributions", {"name": "rhel"}),
            ("image-variant", "image-variants", described),
        ):
            await self.call(f"{name}-post", "POST", f"/-/state/{path}", sent)

    async def state_codes(self) -> None:
        """State codes at both paths."""
        below = "/-/state/projects/images/state-codes"
        await self.call("code-post", "POST", below, {"name": "validate", "description": "Validate the template"})
        body = {"code": 48, "name": "snapshot", "display_name": "Snapshot", "color": "#00aa00"}
        answer = await self.call("code-post-2", "POST", "/-/state/state-codes", {"project_id": self._project, **body})
        code = answer.json["id"]
        await self.call("code-list", "GET", below)
        await self.call("code-list-2", "GET", "/-/state/state-codes?project_id=images&limit=1")
        await self.call("code-get", "GET", f"{below}/48")
        await self.call("code-get-2", "GET", f"/-/state/state-codes/{code}")
        await self.call("code-put", "PUT", f"{below}/snapshot", {"sort_order": 3})
        await self.call("code-put-2", "PUT", f"/-/state/state-codes/{code}", {"is_final": True})
        await self.call("code-delete", "DELETE", f"{below}/validate")
        await self.call("code-delete-2", "DELETE", f"/-/state/state-codes/{code}")

    async def resumable_states(self) -> None:
        """How builds are resumed."""
        path = "/-/state/projects/images/resumable-states"
        body = {"state_code": 35, "resume_strategy": "from_artifact", "required_artifacts": ["vm_snapshot"]}
        await self.call("resumable-post", "POST", path, body)
        await self.call("resumable-list", "GET", f"{path}?is_resumable=true")
        await self.call("resumable-get", "GET", f"{path}/35")
        await self.call("resumable-put", "PUT", f"{path}/35", {"resume_timeout_seconds": 7200})

    async def builds(self) -> None:
        """A record: created, read, changed."""
        body = {"project_id": "images", "build_number": "41", "platform_id": "aws-us-west-2", "created_by": "concourse"}
        await self.shuttle.ask("POST", "/-/state/platforms", json={"name": "aws-us-west-2", "cloud_provider": "aws"})
        answer = await self.call("build-post", "POST", "/-/state/builds", body)
        self._build = f"/-/state/builds/{answer.json['id']}"
        self.names[answer.json["id"]] = "b0000000-0000-4000-8000-000000000000"
        await self.call("build-get", "GET", "/-/state/builds/images%2F41")
        await self.call("build-list", "GET", "/-/state/builds?project_id=images&status=running&limit=1")
        await self.call("build-patch", "PATCH", self._build, {"ami_id": "ami-0123", "status": None})
        await self.call("build-put", "PUT", self._build, {"image_id": "img-1"})

    def _name(self, uuid: str, letter: str) -> None:
        """An id that differs from run to run."""
        self.names.setdefault(uuid, f"{letter}0000000-0000-4000-8000-{len(self.names):012}")

    async def states(self) -> None:
        """States in both forms, and a failure of another build."""
        sent = {"state": 10, "status": "in_progress", "start_time": None}
        self._name((await self.call("states-post", "POST", f"{self._build}/states", sent)).json["id"], "5")
        body = {"state_code": "25", "message": "The template is valid.", "metadata": {"template": "base.pkr.hcl"}}
        self._name((await self.call("state-post", "POST", f"{self._build}/state", body)).json["id"], "5")
        await self.call("states-list", "GET", f"{self._build}/states")
        await self.call("state-get", "GET", f"{self._build}/state")

    async def artifacts(self) -> None:
        """A reference, from its creation to its deletion."""
        body = {"artifact_name": "disk", "artifact_type": "vm_snapshot", "artifact_path": "s3://images/41.qcow2"}
        answer = await self.call("artifact-post", "POST", f"{self._build}/artifacts", body)
        self._name(answer.json["id"], "a")
        one = f"{self._build}/artifacts/{answer.json['id']}"
        await self.call("artifact-list", "GET", f"{self._build}/artifacts?is_resumable=true")
        await self.call("artifact-get", "GET", f"{self._build}/artifacts/disk")
        await self.call("artifact-patch", "PATCH", one, {"artifact_name": None, "is_final": True})
        await self.call("artifact-put", "PUT", one, {"size_bytes": 1_073_741_824})
        await self.call("artifact-delete", "DELETE", one)
        content = f"{self._build}/artifacts/notes.txt/content"
        put = await self.call("artifact-upload", "PUT", f"{content}?state_code=25", b"made by packer\n")
        self._name(put.json["id"], "a")
        await self.call("artifact-content", "GET", content)

    async def variables(self) -> None:
        """A sensitive variable."""
        body = {"variable_key": "SUBNET", "variable_value": "subnet-1", "is_sensitive": True}
        answer = await self.call("variable-post", "POST", f"{self._build}/variables", body)
        self._name(answer.json["id"], "e")
        one = f"{self._build}/variables/SUBNET"
        await self.call("variable-list", "GET", f"{self._build}/variables")
        await self.call("variable-dict", "GET", f"{self._build}/variables/dict")
        await self.call("variable-get", "GET", one)
        await self.call("variable-patch", "PATCH", one, {"is_required_for_resume": True})
        await self.call("variable-put", "PUT", one, {"variable_value": "subnet-2"})
        await self.call("variable-delete", "DELETE", one)

    async def jobs(self) -> None:
        """The job by which another CI system runs the build."""
        body = {"platform": "concourse", "pipeline": "images", "job": "bake", "job_url": "https://ci.example.com/7"}
        answer = await self.call("job-post", "POST", f"{self._build}/jobs", body)
        self._name(answer.json["id"], "c")
        await self.call("job-list", "GET", f"{self._build}/jobs")
        await self.call("job-get", "GET", f"{self._build}/jobs/{answer.json['id']}")
        await self.call("job-patch", "PATCH", f"{self._build}/jobs/{answer.json['id']}", {"status": "running"})

    async def resume(self) -> None:
        """A failure, and the build that resumes this one."""
        failure = {"state": -1, "failure_type": "packer", "error_message": "The disk is full.", "retryable": True}
        answer = await self.call("failure-post", "POST", f"{self._build}/failures", failure)
        self._name(answer.json["id"], "f")
        await self.call("failure-list", "GET", f"{self._build}/failures")
        await self.call("context", "GET", f"{self._build}/resume-context")
        answer = await self.call("resume-post", "POST", f"{self._build}/resume", {"resume_reason": "There is room."})
        self._name(answer.json["id"], "d")
        one = f"/-/state/resume-requests/{answer.json['id']}"
        await self.call("resume-list", "GET", f"{self._build}/resume")
        await self.call("resume-get", "GET", one)
        await self.call("resume-patch", "PATCH", one, {"orchestration_status": "running"})

    async def dashboard(self) -> None:
        """Numbers and the newest builds."""
        await self.call("dashboard", "GET", "/-/state/dashboard/summary")
        await self.call("dashboard-recent", "GET", "/-/state/dashboard/recent?limit=0")
        await self.call("dashboard-platform", "GET", "/-/state/dashboard/platform/aws-us-west-2?limit=0")

    async def refusals(self) -> None:
        """The forms of errors."""
        await self.call("no-token", "GET", "/-/state/projects", headers={"X-API-Key": "wrong"})
        create = {"name": "azure"}
        await self.call("reader", "POST", "/-/state/platforms", create, headers={"X-API-Key": _READER})
        await self.call("shape", "POST", "/-/state/platforms", {"name": "", "region": 1, "zone": "a"})
        await self.call("conflict", "POST", "/-/state/projects", {"name": "images", "description": "Mine"})
        await self.call("not-found", "GET", "/-/state/image-types/none")
        await self.call("project-delete", "DELETE", "/-/state/projects/images")
