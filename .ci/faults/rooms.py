"""Rooms whose air makes a rule fire and resolve, and a plain model of that rule.

CO2 of a room is a saw tooth between 600 and 1,400 ppm over event minutes, each room with its own period. The rule is
`co2 > 1000 for 5m, clear co2 < 900`.
"""

import csv
import http.client
import json

from engine import START_NS

MINUTE_NS = 60_000_000_000
TABLE = "air"
# Minutes of one body.
BODY = 10


def co2(room, minute):
    period = 40 + 7 * (room % 10)
    phase = minute % period
    return 600 + 1_600 * min(phase, period - phase) // period


def transitions(room, first, end):
    """(state, event minute, minute of the episode's start) of a room whose points of these minutes were seen."""
    since, firing = None, False
    for minute in range(first, end):
        value = co2(room, minute)
        if firing:
            if value < 900:
                yield "resolved", minute, since
                since, firing = None, False
            continue
        since = (minute if since is None else since) if value > 1_000 else None
        if since is not None and minute - since >= 5:
            yield "firing", minute, since
            firing = True


class Rooms:
    """Writes bodies in the order of time, one after the other; one that is not acknowledged is written again."""

    def __init__(self, count, first=0):
        self.names = range(first, first + count)
        self.minute = 0

    @staticmethod
    def put_rule(engine):
        rule = {"name": "stuffy", "database": "rig", "table": TABLE, "when": "co2 > 1000", "for": "5m",
                "clear": "co2 < 900"}
        return engine.request("POST", "/api/v1/rules", json.dumps(rule))[0] == 201

    def once(self, engine):
        """One body: its status, or None when the engine is gone."""
        minutes = range(self.minute, self.minute + BODY)
        lines = [f"{TABLE},room={room} co2={co2(room, minute)}i {START_NS + minute * MINUTE_NS}"
                 for minute in minutes for room in self.names]
        try:
            status = engine.write("\n".join(lines))
        except (http.client.HTTPException, OSError):
            return None
        if status == 204:
            self.minute += BODY
        return status

    def expected(self, more=0):
        """What must be recorded once all that was acknowledged is evaluated, and of so many minutes after it."""
        return {(f"{TABLE},room={room}", state, START_NS + at * MINUTE_NS, START_NS + since * MINUTE_NS)
                for room in self.names for state, at, since in transitions(room, 0, self.minute + more)}


def history(engine):
    """The transitions in `alerts.history`, in the form of `Rooms.expected`, each as often as it is there, and their
    ids; or what went wrong."""
    status, rows = engine.query("SELECT subject, state, CAST(event_time AS BIGINT), CAST(started_at AS BIGINT), "
                                "transition_id FROM alerts.history")
    if status != 200:
        return None, None, f"alerts.history answers {status}: {rows[0][:200]}"
    read = list(csv.reader(rows))
    found = [(subject, state, int(event), int(start)) for subject, state, event, start, _ in read]
    return found, [row[4] for row in read], ""


def faults(engine, all_rooms, more=0, whole=True):
    """What is twice in the history, or foreign in that of these rooms, and if it should be whole, what is missing;
    empty when all is well."""
    found, ids, wrong = history(engine)
    if wrong:
        return wrong
    if len(set(found)) != len(found) or len(set(ids)) != len(ids):
        twice = sorted({entry for entry in found if found.count(entry) > 1})
        return f"recorded twice: {twice[:3]}"
    subjects = {f"{TABLE},room={room}" for rooms in all_rooms for room in rooms.names}
    of_rooms = {entry for entry in found if entry[0] in subjects}
    foreign = of_rooms - set().union(*(rooms.expected(more) for rooms in all_rooms))
    if foreign:
        return f"{len(foreign)} are not what the rule says: {sorted(foreign)[:3]}"
    missing = set().union(*(rooms.expected() for rooms in all_rooms)) - of_rooms
    return f"{len(missing)} are missing: {sorted(missing)[:3]}" if whole and missing else ""
