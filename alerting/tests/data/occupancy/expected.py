"""Transitions of `CO2 > 1000 for 5m, clear CO2 < 900`, without and with `no_data: 30m`, from the two files."""
import csv, datetime, pathlib, sys
here, minute, out = pathlib.Path(__file__).parent, datetime.timedelta(minutes=1), csv.writer(sys.stdout, lineterminator="\n")
rows = [(datetime.datetime.fromisoformat(r[1]), float(r[5])) for f in ("datatest.txt", "datatraining.txt")
        for r in list(csv.reader(open(here / f)))[1:]]
for no_data in (None, 30 * minute):
    since, firing, last = None, False, rows[0][0]
    for time, co2 in rows:
        if no_data and time - last > no_data:
            if firing: out.writerow([no_data, "resolved", last + no_data, since, "", "no_data"])
            since, firing = None, False
        if firing and co2 < 900:
            out.writerow([no_data, "resolved", time, since, co2, "cleared"]); since, firing = None, False
        elif not firing:
            since = (since or time) if co2 > 1000 else None
            if since and time - since >= 5 * minute:
                out.writerow([no_data, "firing", time, since, co2, "condition"]); firing = True
        last = time
