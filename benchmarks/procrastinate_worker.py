"""The job of sbm as one would write it today: procrastinate, aiohttp and psycopg.

    python procrastinate_worker.py URI IDENTITY_STORE MESSAGE_SENDER SENDS CONCURRENCY

It is the other side of ``benchmarks.versus_procrastinate``, which runs it in an environment of its
own: it imports nothing of sbm. For each subscription, a job reads the subscription and its message,
looks up the address, posts the outbound, and in one transaction moves the subscription to the next
message and adds a row to the ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import uuid
from typing import Any

import aiohttp
import procrastinate
import psycopg_pool

TABLES = """
CREATE TABLE subscriptions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    identity uuid NOT NULL,
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    next_sequence_number integer NOT NULL
);
CREATE TABLE messages (
    messageset_id integer NOT NULL,
    lang text NOT NULL,
    sequence_number integer NOT NULL,
    text_content text NOT NULL,
    PRIMARY KEY (messageset_id, lang, sequence_number)
);
CREATE TABLE ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id uuid NOT NULL,
    sequence_number integer NOT NULL,
    outbound_id text NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ledger (subscription_id);
INSERT INTO messages
SELECT 1, 'eng_ZA', n, 'Welcome. This is the message of the week.' FROM generate_series(1, 1000) n;
"""
FILL = """
INSERT INTO subscriptions (identity, messageset_id, lang, next_sequence_number)
SELECT lpad(to_hex(n), 32, '0')::uuid, 1, 'eng_ZA', 2 FROM generate_series(1, %s) n
"""
READ = """
SELECT s.identity::text, m.sequence_number, m.text_content
  FROM subscriptions s JOIN messages m ON m.messageset_id = s.messageset_id AND m.lang = s.lang
                                      AND m.sequence_number = s.next_sequence_number
 WHERE s.id = %s
"""
STEP = "UPDATE subscriptions SET next_sequence_number = next_sequence_number + 1 WHERE id = %s"
RECORD = "INSERT INTO ledger (subscription_id, sequence_number, outbound_id) VALUES (%s, %s, %s)"
BATCH = 1000


class Sender:
    """What a job needs: connections to the database and to both services."""

    def __init__(self, options: argparse.Namespace, pool: Any, http: Any) -> None:
        self._identities = f"{options.identity_store}/identities"
        self._outbounds = f"{options.message_sender}/outbound/"
        self._pool, self._http = pool, http

    async def send(self, subscription_id: str) -> None:
        """Send the next message of a subscription."""
        async with self._pool.connection() as connection:
            found = await connection.execute(READ, (subscription_id,))
            identity, number, text = await found.fetchone()
        url = f"{self._identities}/{identity}/addresses/msisdn"
        parameters = {"default": "True", "use_communicate_through": "True"}
        authorization = {"Authorization": "Token i"}
        async with self._http.get(url, params=parameters, headers=authorization) as answer:
            answer.raise_for_status()
            address = (await answer.json())["results"][0]["address"]
        outbound = {
            "to_addr": address,
            "to_identity": identity,
            "delivered": "false",
            "resend": "false",
            "metadata": {"sbm_send_id": str(uuid.uuid4())},
            "content": text,
        }
        authorization = {"Authorization": "Token m"}
        async with self._http.post(self._outbounds, json=outbound, headers=authorization) as answer:
            answer.raise_for_status()
            outbound_id = (await answer.json())["id"]
        async with self._pool.connection() as connection:
            await connection.execute(STEP, (subscription_id,))
            await connection.execute(RECORD, (subscription_id, number, outbound_id))


async def work(options: argparse.Namespace) -> None:
    """Make the tables. Then defer a job for each subscription, and do all jobs, when told so."""
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=options.uri))
    connector = aiohttp.TCPConnector(limit=options.concurrency * 2)
    async with (
        app.open_async(),
        psycopg_pool.AsyncConnectionPool(options.uri, min_size=4, max_size=10) as pool,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        sender = Sender(options, pool, http)
        task = app.task(name="send")(sender.send)
        await app.schema_manager.apply_schema_async()
        async with pool.connection() as connection:
            await connection.execute(TABLES)
            await connection.execute(FILL, (options.sends,))
            found = await connection.execute("SELECT id::text FROM subscriptions")
            ids = [row[0] for row in await found.fetchall()]

        async def all_of(chosen: list[str]) -> None:
            for begin in range(0, len(chosen), BATCH):
                jobs = [{"subscription_id": one} for one in chosen[begin : begin + BATCH]]
                await task.batch_defer_async(*jobs)
            await app.run_worker_async(
                concurrency=options.concurrency, wait=False, install_signal_handlers=False
            )

        await all_of(ids[:200])
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            await all_of(ids)
            print("done", flush=True)


def main() -> None:
    """Parse the command line, and work until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("uri")
    parser.add_argument("identity_store")
    parser.add_argument("message_sender")
    parser.add_argument("sends", type=int)
    parser.add_argument("concurrency", type=int)
    asyncio.run(work(parser.parse_args()))


if __name__ == "__main__":
    main()
