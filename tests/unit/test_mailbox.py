"""The mailbox: commands for all workers, each answer once."""

import asyncio

from orchestrator.training.mailbox import Mailbox


def test_commands_are_there_for_every_worker_and_answers_are_not_kept():
    async def talk():
        mailbox = Mailbox()
        await mailbox.put({"kind": "epoch"})
        for number in range(3):
            await mailbox.reply({"number": number})
            assert await mailbox.command(0) == await mailbox.command(0) == {"kind": "epoch"}
            assert await mailbox.answer(number) == {"number": number}
        return mailbox

    assert not asyncio.run(talk())._answers
