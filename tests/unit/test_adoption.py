"""Lost creates on seeded days: none is ever tied to somebody else's task, and what is certain heals."""

from __future__ import annotations

from benchmarks.adoption import Day, Tally, play
from benchmarks.adoption_ark import ArkWorld
from prefect_genvideo.simulator import Simulator


def seeds(count: int, **dealt: object) -> list[int]:
    """The first seeds whose day was dealt so."""
    found = (
        seed for seed in range(10_000) if all(getattr(Day.dealt(seed), name) == value for name, value in dealt.items())
    )
    return [next(found) for _ in range(count)]


async def summed(sim: Simulator, *days: int) -> Tally:
    whole = Tally()
    for seed in days:
        whole.add((await play(seed, sim))[1])
    return whole


async def test_no_lost_create_gets_a_task_that_is_not_its_own(sim: Simulator) -> None:
    """Any gateway, any log, with strangers or without."""
    whole = await summed(sim, *range(5), *seeds(3, strangers=True, log="whole", tree="names tasks"))
    assert (whole.wrong, whole.faults) == (0, [])
    assert whole.lost == whole.healed + whole.left_to_person


async def test_a_gateway_that_names_tasks_heals_what_is_certain(sim: Simulator) -> None:
    """On a key of one's own, with a whole log."""
    whole = await summed(sim, *seeds(4, strangers=False, log="whole", tree="names tasks"))
    assert whole.wrong == 0
    assert whole.healed > 0
    assert whole.log_calls < 16


async def test_ark_s_list_heals_whatever_was_charged_and_nothing_else(sim: Simulator) -> None:
    """With strangers and without, with clocks that are off; only while the list is silent a person has to look."""
    healed = 0
    for seed in (*range(4), *seeds(1, strangers=True)):
        world, tally = await play(seed, sim, ArkWorld)
        assert isinstance(world, ArkWorld)
        assert (tally.wrong, tally.faults) == (0, [])
        assert tally.healed == (0 if world.list == "never answers" else tally.charged)
        assert tally.lost == tally.healed + tally.left_to_person
        healed += tally.healed
    assert healed > 3
