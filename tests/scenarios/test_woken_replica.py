"""A replica is stopped in a transaction for longer than its lease, and wakes up while another one works for the app."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.kafka_cluster import kafka_cluster
from tests.support.separate_replicas import freeze, separate_replicas, until_owner_is_not, until_raised
from tests.support.subscribed_build import subscribed_build

pytestmark = [pytest.mark.timeout(180), pytest.mark.long]

SCRIPT = """
seq 1 100
until [ -e {folder}/{app_id}.middle ]; do sleep 0.05; done
seq 101 200
until [ -e {folder}/{app_id}.end ]; do sleep 0.05; done
seq 201 300
"""
NUMBERS = [b"%d" % number for number in range(1, 301)]
# For each app, a statement whose answer the replica does not get, the gates that are opened before, the one that causes
# the statement, and the line that the other replica sends afterwards.
MOMENTS = {
    "log": ("INSERT INTO log_segments", [], "middle", b"\n200\n"),
    "status": ("INSERT INTO events", ["middle"], "end", b"\n300\n"),
}


async def test_a_replica_that_wakes_up_during_a_build_that_it_has_lost_changes_nothing_of_it(tmp_path: Path):
    async with kafka_cluster() as kafka, separate_replicas(tmp_path, 2) as (product, links):
        for app_id, (statement, gates, gate, line) in MOMENTS.items():
            async with subscribed_build(product.at(0), kafka, app_id) as build:
                receiver, database = build.receiver, links[0].database
                await build.submit(SCRIPT.format(folder=tmp_path, app_id=app_id))
                await receiver.until(lambda receiver=receiver: b"\n100\n" in receiver.log)
                for open_before in gates:
                    (tmp_path / f"{app_id}.{open_before}").touch()
                    await receiver.until(lambda receiver=receiver: b"\n200\n" in receiver.log)
                database.hold_answer_to(statement)
                (tmp_path / f"{app_id}.{gate}").touch()
                await database.until_held()
                frozen = freeze(product, 0)
                seconds = await until_owner_is_not(product, frozen, [app_id])
                await receiver.until(lambda receiver=receiver, line=line: line in receiver.log)
                database.release()
                os.kill(frozen.pid, signal.SIGCONT)
                await until_raised(product, frozen)
                (tmp_path / f"{app_id}.end").touch()
                # The woken replica is asked for the record and the log.
                log = await build.received_log()
                assert [each for each in log.splitlines() if each.isdigit()] == NUMBERS
                print(f"{app_id}: another replica owned the app after {seconds:.1f} s")
                await product.balancer.until_in(product.ports[0])
        assert all("Traceback" not in replica.output() for replica in product.replicas)
