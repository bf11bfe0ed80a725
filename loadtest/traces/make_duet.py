#!/usr/bin/env python3
"""Writes duet.json.gz: two simulated people who take minutes together, in the format of josephg/editing-traces.

The text that must result is computed here without any merge algorithm, so that it can judge one. That is possible
because nothing that happens at the same time happens at the same place: each person writes in a paragraph of
their own, between a label and a line break that stay; the paragraph that both share is changed only by somebody who
has seen its newest state. So a version of the text is one version of each paragraph, side by side.

The output is the same, byte for byte, on every run with one version of Python and zlib.
"""

import gzip
import json
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path

PEOPLE = ["Ana", "Ben"]
SHARED = len(PEOPLE)
LABELS = [f"{name}: " for name in PEOPLE] + ["Décisions 📝: "]
ORDER = [SHARED, *range(len(PEOPLE))]
TRANSACTIONS = 1200
START = datetime(2026, 3, 2, 9, 0, tzinfo=timezone.utc)
WORDS = """we agree that the door stays open until noon Grüße naïve cafe\u0301 Ελλάδα 日本語 привет न\u093fर\u094dणय
🦔 👩‍👩‍👧 🇫🇷 👍🏽 e\u0301te\u0301 tomorrow perhaps tea and ¿qué? 𝒳 שלום budget 3½ % later""".split()


class Dice:
    """Only `random()` is promised to stay the same between versions of Python."""

    def __init__(self, seed):
        self.source = random.Random(seed)

    def below(self, bound):
        return int(self.source.random() * bound)

    def chance(self, probability):
        return self.source.random() < probability

    def one_of(self, items):
        return items[self.below(len(items))]


class Person:
    def __init__(self, number):
        self.number = number
        self.bodies = [""] * len(LABELS)  # what stands behind each label, as this person sees it
        self.clock = [0] * len(PEOPLE)  # how many transactions of each person this one knows
        self.shared_version = 0  # of the states of the shared paragraph, the one in `bodies`
        self.typing = ""  # what the next keys are
        self.caret = 0  # where in the own paragraph
        self.offline = 0  # transactions until this person merges again

    def start_of(self, paragraph):
        """Where in the whole text, as this person sees it, the paragraph's body starts."""
        before = 0
        for other in ORDER[: ORDER.index(paragraph)]:
            before += len(LABELS[other]) + len(self.bodies[other]) + 1
        return before + len(LABELS[paragraph])


class Session:
    def __init__(self, seed):
        self.dice = Dice(seed)
        self.people = [Person(number) for number in range(len(PEOPLE))]
        self.shared_version = 0  # the newest
        self.txns = []
        self.by_person = [[] for _ in PEOPLE]  # (index of the transaction, what it knows)
        self.now = START

    def commit(self, person, patches):
        self.now += timedelta(milliseconds=40 + self.dice.below(260))
        number = person.number
        parents = self.frontier(person.clock)
        for parent in parents:
            self.txns[parent]["numChildren"] += 1
        person.clock[number] += 1
        self.by_person[number].append((len(self.txns), list(person.clock)))
        self.txns.append(
            {
                "parents": parents,
                "numChildren": 0,
                "agent": number,
                "time": self.now.isoformat(timespec="milliseconds"),
                "patches": patches,
            }
        )

    def frontier(self, clock):
        """The newest known transaction of each person, without those that another one builds upon."""
        heads = [(p, self.by_person[p][count - 1]) for p, count in enumerate(clock) if count]
        return sorted(
            index
            for p, (index, known) in heads
            if not any(q != p and other[p] >= known[p] for q, (_, other) in heads)
        )

    def merge(self, person, other):
        """`person` receives everything that `other` has."""
        for p, count in enumerate(other.clock):
            if count > person.clock[p]:
                person.clock[p] = count
                person.bodies[p] = other.bodies[p]
        if other.shared_version > person.shared_version:
            person.shared_version = other.shared_version
            person.bodies[SHARED] = other.bodies[SHARED]

    def type_key(self, person):
        if not person.typing:
            body = person.bodies[person.number]
            person.typing = self.dice.one_of(WORDS) + " "
            spaces = [i + 1 for i, character in enumerate(body) if character == " "]
            person.caret = self.dice.one_of(spaces) if spaces and self.dice.chance(0.3) else len(body)
        key, person.typing = person.typing[0], person.typing[1:]
        self.change(person, person.number, [(person.caret, 0, key)])
        person.caret += 1

    def revise(self, person, paragraph):
        """Whole words at once, removals, and two patches of which the second counts in what the first one leaves."""
        dice = self.dice
        length = len(person.bodies[paragraph])
        person.typing = ""
        if length > 8 and dice.chance(0.5):
            at = dice.below(length - 4)
            self.change(person, paragraph, [(at, 1 + dice.below(4), "")])
        elif length > 8 and dice.chance(0.4):
            self.change(person, paragraph, [(2, 3, dice.one_of(WORDS)), (0, 1, "§")])
        else:
            self.change(person, paragraph, [(length, 0, dice.one_of(WORDS) + " ")])

    def change(self, person, paragraph, patches):
        """One transaction in a paragraph that nobody else changes meanwhile."""
        body = person.bodies[paragraph]
        for at, removed, text in patches:
            body = body[:at] + text + body[at + removed :]
        start = person.start_of(paragraph)
        person.bodies[paragraph] = body
        self.commit(person, [[start + at, removed, text] for at, removed, text in patches])

    def revise_shared(self, person):
        self.revise(person, SHARED)
        self.shared_version += 1
        person.shared_version = self.shared_version

    def step(self):
        person = self.dice.one_of(self.people)
        if person.offline:
            person.offline -= 1
        elif self.dice.chance(0.3):
            for other in self.people:
                if not other.offline:
                    self.merge(person, other)
            if self.dice.chance(0.1):
                person.offline = 5 + self.dice.below(35)
        if person.shared_version == self.shared_version and self.dice.chance(0.05):
            self.revise_shared(person)
        elif self.dice.chance(0.1):
            self.revise(person, person.number)
        else:
            self.type_key(person)

    def play(self):
        first = self.people[0]
        skeleton = "".join(LABELS[paragraph] + "\n" for paragraph in ORDER)
        self.commit(first, [[0, 0, skeleton]])
        for person in self.people[1:]:
            self.merge(person, first)
        while len(self.txns) < TRANSACTIONS - 1:
            self.step()
        for person in self.people[1:]:
            self.merge(first, person)
        self.type_key(first)
        assert self.frontier(first.clock) == [len(self.txns) - 1], "the last one knows everything"
        return "".join(LABELS[p] + first.bodies[p] + "\n" for p in ORDER)


def main():
    session = Session(seed=20260302)
    trace = {"kind": "concurrent", "endContent": session.play(), "numAgents": len(PEOPLE), "txns": session.txns}
    text = json.dumps(trace, ensure_ascii=False, separators=(",", ":"))
    path = Path(__file__).with_name("duet.json.gz")
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    concurrent = sum(len(txn["parents"]) > 1 for txn in session.txns)
    print(f"{path.name}: {len(session.txns)} transactions, {concurrent} of them merges")


if __name__ == "__main__":
    main()
