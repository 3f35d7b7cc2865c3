"""Passwords of a real Kafka cluster: the right one is accepted by each mechanism, a wrong one is reported as wrong."""

import asyncio

import pytest

from tests.real.kafka_brokers import PASSWORD, SCRAM, running_brokers
from tests.real.talking import topics_of
from tests.support.product import running_product
from tests.support.subscribed_build import subscribed_build

pytestmark = pytest.mark.timeout(120)


async def test_right_password_is_accepted_and_a_wrong_one_is_reported(tmp_path):
    async with running_brokers(tmp_path / "guarded", 1, asks_for_password=True) as guarded:
        for mechanism in ("PLAIN", SCRAM):
            name, folder = f"right-{mechanism}", tmp_path / mechanism
            folder.mkdir()
            await guarded.make_topics(*topics_of([name]))
            async with running_product(folder, SHUTTLE_KAFKA_SASL_MECHANISM=mechanism) as product:
                async with subscribed_build(product, guarded, name) as build:
                    await build.submit("seq 1 3000")
                    await build.received_log()
                wrong = guarded.url(f"{name}-log", password="wrong-password")
                await product.submit("wrong", "1", "#!/bin/sh\n", webhooks={"status": wrong, "logs": wrong})
                async with asyncio.timeout(20):
                    while (sink := (await product.build("wrong", "1"))["sinks"][0])["state"] != "failing":
                        await asyncio.sleep(0.05)
                refusal = f"Kafka {guarded.public} refused the user or the password (SASL {mechanism})."
                assert sink["last_error"] == refusal
                for secret in (PASSWORD, "wrong-password"):
                    assert secret not in product.shuttle.output()
