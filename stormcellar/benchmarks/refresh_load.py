# SPDX-License-Identifier: MIT
"""How many refreshes a second so many users make: a simulation, without any server.

    python stormcellar/benchmarks/refresh_load.py
    python stormcellar/benchmarks/refresh_load.py --users 10000000 --capacity 4000

Users come and go by a daily rhythm: visits begin with a rate that is highest at 15:00 and lowest at 03:00,
last for half an hour on average, and during one the page is in use all the time, so that a token is renewed
when it ends (access_token_lifetime_s, shortened at random by up to access_token_jitter_percent). Whoever
returns with a token that has ended renews it at once. So a refresh follows from every visit that begins with
an old token, and from every token that ends during one.

Then the same with an outage of ten minutes at 15:00: nobody can renew. Clients try again after 1, 2, 4, ...
up to 30 seconds, each wait shortened at random by up to half, until they are answered; `capacity` says how
many answers the servers give a second. Whoever comes while they are busy is told to come again. The herd is
those who were turned away during the outage.

Last, the worst case for a crowd: everybody signs in within the same minute, such as at the beginning of a
lesson, and stays. How high the wave of refreshes is one, two and six lifetimes later shows what jitter does.

Times are simulated in steps of one second with random numbers of a fixed seed: the same figures every time.
`--write` puts them into stormcellar/benchmarks/results/refresh_load.md.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOUR_S, DAY_S = 3600, 86_400
PEAK_AT_S = 15 * HOUR_S
RHYTHM = 0.9  # how much of the mean rate the daily rhythm adds and takes away
VISIT_S = 1800.0
OUTAGE_S = 600
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
WAVE_S = 60  # the crowd signs in within that time


@dataclass(frozen=True)
class World:
    """What is assumed.

    Args:
        users: simulated ones; each stands for `scale` real ones.
        visits_a_day: of each user.
    """

    users: int
    scale: float
    visits_a_day: float
    lifetime_s: float
    jitter: float

    def token_ends(self, chance: random.Random, now: float) -> float:
        return now + self.lifetime_s * (1 - self.jitter * chance.random())


@dataclass
class Day:
    """Simulated refreshes in each second of the day, and how long after the outage the herd was served."""

    world: World
    answered: Counter[int]
    attempts: Counter[int]
    served_after_s: list[float] = field(default_factory=list)

    def per_second(self, counter: Counter[int], begin: float, end: float) -> tuple[float, float]:
        """Mean and peak of real refreshes a second, the peak over 10 s: one user stands for many."""
        scale = self.world.scale
        mean = scale * sum(counter[second] for second in range(int(begin), int(end))) / (end - begin)
        sums = (
            sum(counter[second + more] for more in range(10)) / 10
            for second in range(int(begin), int(end), 10)
        )
        return mean, scale * max(sums)


def rate(second: float) -> float:
    """How busy it is at that time of the day, 1 on average."""
    return 1 + RHYTHM * math.cos(2 * math.pi * (second - PEAK_AT_S) / DAY_S)


def next_visit(world: World, chance: random.Random, after: float) -> float:
    """When the user comes next: an inhomogeneous Poisson process, by thinning."""
    highest = world.visits_a_day / DAY_S * (1 + RHYTHM)
    while True:
        after += chance.expovariate(highest)
        if chance.random() < rate(after % DAY_S) / (1 + RHYTHM):
            return after


def simulate(world: World, *, outage: bool = False, capacity: float = math.inf, seed: int = 1) -> Day:
    """Two days, of which the second counts; the outage begins at the second day's peak.

    Each user is one entry in a queue of events: the moment at which a token may have to be renewed.
    """
    chance = random.Random(seed)
    day = Day(world, Counter(), Counter())
    down_from = DAY_S + PEAK_AT_S if outage else math.inf
    room: Counter[int] = Counter()
    herd: set[int] = set()
    queue: list[
        tuple[float, int, float, float]
    ] = []  # when, number, end of the visit, wait before the next try
    for user in range(world.users):
        begin = next_visit(world, chance, 0.0)
        heapq.heappush(queue, (begin, user, begin + chance.expovariate(1 / VISIT_S), 0.0))
    token_until = [0.0] * world.users
    per_simulated_s = capacity / world.scale
    while queue:
        now, user, leaves, waited = heapq.heappop(queue)
        if now >= 2 * DAY_S:
            continue
        if now >= leaves:  # has given up, or gone: comes again another time
            herd.discard(user)
            begin = max(now, next_visit(world, chance, leaves))
            heapq.heappush(queue, (begin, user, begin + chance.expovariate(1 / VISIT_S), 0.0))
            continue
        if token_until[user] > now:  # nothing to renew yet
            heapq.heappush(queue, (min(token_until[user], leaves), user, leaves, 0.0))
            continue
        second = int(now)
        counts = second >= DAY_S
        day.attempts[second - DAY_S] += counts
        down = down_from <= now < down_from + OUTAGE_S
        if down or not _has_room(room, second, per_simulated_s, chance):
            wait = min(LONGEST_RETRY_S, max(FIRST_RETRY_S, 2 * waited))
            if down:
                herd.add(user)
            heapq.heappush(queue, (now + wait * (1 - chance.random() / 2), user, leaves, wait))
            continue
        if user in herd:
            herd.remove(user)
            day.served_after_s.append(now - down_from - OUTAGE_S)
        day.answered[second - DAY_S] += counts
        token_until[user] = world.token_ends(chance, now)
        heapq.heappush(queue, (min(token_until[user], leaves), user, leaves, 0.0))
    return day


def _has_room(room: Counter[int], second: int, per_second: float, chance: random.Random) -> bool:
    """Whether one more is answered in this second; what is left below one is left to chance."""
    if math.isinf(per_second):
        return True
    if room[second] < math.floor(per_second) or (
        room[second] == math.floor(per_second) and chance.random() < per_second % 1
    ):
        room[second] += 1
        return True
    return False


def crowd(world: World, lifetimes: int, seed: int = 1) -> list[float]:
    """The highest rate a second, by lifetime, of `users` who all signed in within WAVE_S and stay."""
    chance = random.Random(seed)
    seconds: Counter[int] = Counter()
    for _ in range(world.users):
        now = chance.random() * WAVE_S
        while now < (lifetimes + 0.5) * world.lifetime_s:
            now = world.token_ends(chance, now)
            seconds[int(now)] += 1
    peaks = []
    for number in range(1, lifetimes + 1):
        middle = number * world.lifetime_s * (1 - world.jitter / 2)
        near = range(int(middle - world.lifetime_s / 2), int(middle + world.lifetime_s / 2))
        peaks.append(world.scale * max(sum(seconds[s + more] for more in range(10)) / 10 for s in near))
    return peaks


def report(users: int, simulated: int, visits_a_day: float, lifetime_s: float, capacity: float) -> str:
    lines = [
        f"{users:,} users, {visits_a_day:g} visits a day of {VISIT_S / 60:.0f} minutes, tokens of "
        f"{lifetime_s / 60:.0f} minutes; {simulated:,} users simulated.",
        "",
        "| a usual day | refreshes a second, mean | busiest 10 seconds | a day |",
        "| --- | ---: | ---: | ---: |",
    ]
    worlds = {
        jitter: World(simulated, users / simulated, visits_a_day, lifetime_s, jitter)
        for jitter in (0.05, 0.0)
    }
    for jitter, world in worlds.items():
        day = simulate(world)
        mean, peak = day.per_second(day.answered, 0, DAY_S)
        lines.append(f"| jitter {jitter:.0%} | {mean:,.0f} | {peak:,.0f} | {mean * DAY_S:,.0f} |")
    lines += [
        "",
        "| after 10 minutes without any answer, at 15:00 (jitter 5%) | the herd "
        "| attempts a second, busiest 10 s | answered a second, busiest 10 s "
        "| 99 % of the herd are served after |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for limit in (math.inf, capacity, capacity / 2):
        day = simulate(worlds[0.05], outage=True, capacity=limit)
        end = PEAK_AT_S + OUTAGE_S
        _, attempts = day.per_second(day.attempts, end, end + HOUR_S)
        _, answered = day.per_second(day.answered, end, end + HOUR_S)
        shown = "no limit" if math.isinf(limit) else f"capacity {limit:,.0f} a second"
        herd = len(day.served_after_s)
        served_s = sorted(day.served_after_s)[int(0.99 * herd)]
        real_herd = herd * users / simulated
        lines.append(f"| {shown} | {real_herd:,.0f} | {attempts:,.0f} | {answered:,.0f} | {served_s:.0f} s |")
    lines += [
        "",
        f"| a crowd of {users // 10:,} signs in within {WAVE_S} s and stays: busiest 10 s, a second "
        "| after 1 lifetime | 2 | 6 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for jitter in (0.05, 0.0):
        one = World(simulated, users / 10 / simulated, visits_a_day, lifetime_s, jitter)
        peaks = crowd(one, 6)
        lines.append(f"| jitter {jitter:.0%} | {peaks[0]:,.0f} | {peaks[1]:,.0f} | {peaks[5]:,.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000_000, help="active on a day")
    parser.add_argument("--simulated", type=int, default=40_000)
    parser.add_argument("--visits-a-day", type=float, default=3.0)
    parser.add_argument("--lifetime-s", type=float, default=3600.0, help="access_token_lifetime_s")
    parser.add_argument("--capacity", type=float, default=2000.0, help="refreshes a second, of all servers")
    parser.add_argument(
        "--write", action="store_true", help="into stormcellar/benchmarks/results/refresh_load.md"
    )
    options = parser.parse_args()
    text = report(
        options.users, options.simulated, options.visits_a_day, options.lifetime_s, options.capacity
    )
    print(text)
    if options.write:
        made_by = (
            "Made by `python stormcellar/benchmarks/refresh_load.py --write`; the file says what is assumed."
        )
        path = HERE / "results" / "refresh_load.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# The load of refreshes\n\n{made_by}\n\n{text}\n")


if __name__ == "__main__":
    main()
