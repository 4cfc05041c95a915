"""Crashes before and after the commit: what was committed is resumed, what was not never was."""

from __future__ import annotations

from switch_world import World

from network.party import Received, Turn, Work
from switch.tables import Transaction


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


def test_one_bad_event_harms_no_other(world: World, monkeypatch: object) -> None:
    """An 0200 that no turn can decide is dropped alone; advices, keys and routes are as they were."""
    bad = world.acquirer.sale(13)
    requests = world.switch._requests
    decide = requests.request

    def fail_on_13(*arguments: object) -> None:
        message = arguments[4]
        if message[11] == "000013":  # type: ignore[index]
            world.unit.insert(world.unit.find(Transaction, "reference", "x") or _nonsense(world))
        decide(*arguments)  # type: ignore[arg-type]

    requests.request = fail_on_13  # type: ignore[method-assign, assignment]
    world.exchange((world.acquirer, world.acquirer.sale(12)), (world.acquirer, bad), (world.acquirer, world.acquirer.sale(14)))
    assert len(world.failures) == 1
    world.failures.clear()
    answers = [world.issuer.answer(request) for request in world.taken(world.issuer)]
    assert len(answers) == 2
    world.exchange(*((world.issuer, answer) for answer in answers))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["00", "00"]
    assert world.positions() == (2500, -2500)


def _nonsense(world: World) -> Transaction:
    row = world.unit.scan(Transaction, "status", "pending", 1)[0]
    return row
