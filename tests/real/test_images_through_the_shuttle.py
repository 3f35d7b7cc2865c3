"""The whole product with a real builder and registry: an image is built from a POST, and copied by docker://."""

import base64
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.real.registry import PASSWORD, USER, Registry, busybox, running_registry
from tests.support.product import Product, running_product

SECRET = "s3cr3t-build-argument"
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY busybox /bin/sh
RUN /bin/busybox echo "$GREETING" > /greeting && /bin/busybox echo "the secret is $SECRET"
CMD ["/bin/busybox", "cat", "/greeting"]
"""


@pytest.fixture
def agents_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings with which an agent builds without an engine: storage in a plain folder, RUN in a chroot."""
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/images"\nrunroot = "{tmp_path}/run"\n'
    (tmp_path / "storage.conf").write_text(storage)
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(tmp_path / "storage.conf"))
    monkeypatch.setenv("BUILDAH_ISOLATION", "chroot")


def source(files: dict[str, bytes]) -> str:
    """An archive with one folder at the top, like archives of repositories."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"project-1.0/{name}")
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return "data:application/gzip;base64," + base64.b64encode(packed.getvalue()).decode()


def image_url(registry: Registry, name: str, password: str = PASSWORD) -> str:
    return f"docker://{quote(USER)}:{quote(password, safe='')}@{registry.host}/{name}"


async def build(product: Product, app_id: str, **body: object) -> dict[str, object]:
    """Request an image and wait for the end of the build."""
    sent = io.BytesIO(json.dumps(body).encode())
    async with product.session.post(
        f"{product.url}/{app_id}/1", data=sent, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 200, await response.text()
    return await product.until_state(app_id, "1", "succeeded", "failed", "timedout", "stopped", seconds=50)


@pytest.mark.usefixtures("agents_storage")
async def test_an_image_is_built_pushed_and_copied_on(tmp_path: Path) -> None:
    async with running_registry(tmp_path) as registry, running_product(tmp_path) as product:
        built = await build(
            product,
            "image",
            source={"url": source({"Dockerfile": DOCKERFILE.encode(), "busybox": busybox()})},
            destination={"image": image_url(registry, "org/app:1.0"), "tags": ["latest"]},
            arguments={"GREETING": "hello 'you'", "SECRET": SECRET, "PATH": "/hostile"},
            secret_arguments=["SECRET"],
        )
        log = await product.log("image", "1")
        assert built["state"] == "succeeded", log.decode()
        assert b"the secret is [secret]" in log
        assert SECRET.encode() not in log
        assert PASSWORD.encode() not in log
        digest, _ = await registry.manifest("org/app", "1.0")
        assert built["digest"] == digest == (await registry.manifest("org/app", "latest"))[0]
        assert SECRET not in str(await registry.config("org/app", "1.0"))
        copied = await build(
            product,
            "copy",
            source={"url": image_url(registry, "org/app:1.0")},
            destination={"url": image_url(registry, "org/second:2.0")},
        )
        assert copied["state"] == "succeeded", (await product.log("copy", "1")).decode()
        assert (await registry.manifest("org/second", "2.0"))[0] == digest


@pytest.mark.usefixtures("agents_storage")
async def test_failures_have_the_documented_reasons(tmp_path: Path) -> None:
    files = {"Dockerfile": b"FROM scratch\nCOPY Dockerfile /\n"}
    async with running_registry(tmp_path) as registry, running_product(tmp_path) as product:
        refused = await build(
            product,
            "refused",
            source={"url": source(files)},
            destination={"image": image_url(registry, "org/app", password="wrong")},
        )
        assert (refused["state"], refused["reason"]) == ("failed", "registry_refused")
        missing = await build(
            product,
            "missing",
            source={"url": image_url(registry, "org/nothing")},
            destination={"image": image_url(registry, "org/app")},
        )
        assert (missing["state"], missing["reason"]) == ("failed", "image_not_found")
        bare = await build(
            product,
            "bare",
            source={"url": source({"README": b"no Dockerfile"})},
            destination={"image": image_url(registry, "org/app")},
        )
        assert (bare["state"], bare["reason"]) == ("failed", "no_dockerfile")
