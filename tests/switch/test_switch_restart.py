"""Crashes before and after the commit: what was committed is resumed, what was not never was."""

from __future__ import annotations

from switch_world import World

from network.party import Received, Turn, Work


def lost_turn(world: World, *bodies: tuple[str, bytes]) -> None:
    """A turn that dies before its commit."""
    work = Work([], [Received(link, body) for link, body in bodies], [], [])
    world.switch.turn(Turn(world.now, world.random, world.unit, work))
    world.crash()


def test_a_request_lost_before_the_commit_never_was(world: World) -> None:
    lost_turn(world, (world.acquirer.link, world.acquirer.sale(1)))
    assert world.transactions() == []
    world.sign_on()
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert len(world.taken(world.issuer)) == 1


def test_an_approval_lost_before_the_commit_is_reversed(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.advance(5)
    lost_turn(world, (world.issuer.link, world.issuer.answer(request)))
    world.sign_on()
    assert world.positions() == (0, 0)
    world.advance(14.9)
    assert world.taken(world.acquirer) == []
    world.advance(0.2)
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["98"]
    assert [message.mti for message in world.taken(world.issuer)] == ["0420"]


def test_an_approval_whose_reply_is_lost_after_the_commit_is_answered_from_the_record(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.turn((world.issuer, world.issuer.answer(request)))
    world.crash()
    world.sign_on()
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (reply,) = world.taken(world.acquirer)
    assert (reply[39], reply[38], reply[54]) == ("00", "A1B2C3", "1001156C000000098750")
    assert world.positions() == (1250, -1250)


def test_what_is_overdue_at_the_start_is_timed_out_at_once(world: World) -> None:
    world.exchange(*((world.acquirer, world.acquirer.sale(stan)) for stan in (1, 2)))
    world.taken(world.issuer)
    world.now += 3600 * 1_000_000
    world.crash()
    world.advance(0)
    assert [row.status for row in world.transactions()] == ["timed out"] * 2
    world.sign_on()
    assert [message.mti for message in world.taken(world.issuer)] == ["0420", "0420"]
