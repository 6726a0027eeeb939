-- Times are nanoseconds since 1970 UTC, ids are the 16 bytes of a UUID, attributes are one JSON object as text.
-- `rev` counts the changes of a row from 1. A row with `deleted_at` is gone for everyone who does not ask.

CREATE TABLE buildings (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    name TEXT NOT NULL,
    source TEXT,
    external_id TEXT,
    street TEXT,
    postal_code TEXT,
    city TEXT,
    region TEXT,
    country TEXT,
    latitude REAL,
    longitude REAL,
    time_zone TEXT,
    attributes TEXT NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) WITHOUT ROWID;
-- Two unknown sources are the same source: NULLs would all be distinct.
CREATE UNIQUE INDEX buildings_external ON buildings (external_id, ifnull(source, ''))
    WHERE deleted_at IS NULL AND external_id IS NOT NULL;
CREATE INDEX buildings_name ON buildings (name, id);
CREATE INDEX buildings_updated ON buildings (updated_at, id);

CREATE TABLE floors (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    building_id BLOB NOT NULL REFERENCES buildings (id),
    name TEXT NOT NULL,
    level INTEGER,
    attributes TEXT NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) WITHOUT ROWID;
CREATE INDEX floors_building ON floors (building_id, id);
CREATE INDEX floors_name ON floors (name, id);
CREATE INDEX floors_updated ON floors (updated_at, id);

CREATE TABLE areas (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    building_id BLOB NOT NULL REFERENCES buildings (id),
    name TEXT NOT NULL,
    kind TEXT,
    attributes TEXT NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) WITHOUT ROWID;
CREATE INDEX areas_building ON areas (building_id, id);
CREATE INDEX areas_name ON areas (name, id);
CREATE INDEX areas_updated ON areas (updated_at, id);

CREATE TABLE rooms (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    floor_id BLOB NOT NULL REFERENCES floors (id),
    area_id BLOB REFERENCES areas (id),
    name TEXT NOT NULL,
    kind TEXT,
    attributes TEXT NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) WITHOUT ROWID;
CREATE INDEX rooms_floor ON rooms (floor_id, id);
CREATE INDEX rooms_area ON rooms (area_id, id) WHERE area_id IS NOT NULL;
CREATE INDEX rooms_name ON rooms (name, id);
CREATE INDEX rooms_updated ON rooms (updated_at, id);

CREATE TABLE devices (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    source TEXT NOT NULL,
    external_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT,
    state TEXT NOT NULL CHECK (state IN ('SHADOW', 'PENDING', 'ACTIVATED', 'REJECTED', 'DEACTIVATED', 'REMOVED')),
    attributes TEXT NOT NULL,
    rev INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX devices_external ON devices (external_id, source) WHERE deleted_at IS NULL;
CREATE INDEX devices_name ON devices (name, id);
CREATE INDEX devices_updated ON devices (updated_at, id);

CREATE TABLE device_transitions (
    device_id BLOB NOT NULL REFERENCES devices (id),
    rev INTEGER NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    reason TEXT,
    at INTEGER NOT NULL,
    PRIMARY KEY (device_id, rev)
) WITHOUT ROWID;

-- Where a device is, from `valid_from` (inclusive) to `valid_to` (exclusive, NULL = still).
CREATE TABLE device_locations (
    device_id BLOB NOT NULL REFERENCES devices (id),
    valid_from INTEGER NOT NULL,
    valid_to INTEGER CHECK (valid_to > valid_from),
    building_id BLOB NOT NULL REFERENCES buildings (id),
    floor_id BLOB REFERENCES floors (id),
    area_id BLOB REFERENCES areas (id),
    room_id BLOB REFERENCES rooms (id),
    PRIMARY KEY (device_id, valid_from)
) WITHOUT ROWID;
CREATE UNIQUE INDEX device_locations_open ON device_locations (device_id) WHERE valid_to IS NULL;
CREATE INDEX device_locations_building ON device_locations (building_id) WHERE valid_to IS NULL;
CREATE INDEX device_locations_floor ON device_locations (floor_id) WHERE valid_to IS NULL;
CREATE INDEX device_locations_area ON device_locations (area_id) WHERE valid_to IS NULL;
CREATE INDEX device_locations_room ON device_locations (room_id) WHERE valid_to IS NULL;

-- One row per change, written in the transaction of the change. One writer, so `seq` is the order of the commits.
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    entity TEXT NOT NULL,
    id BLOB NOT NULL,
    rev INTEGER NOT NULL,
    op TEXT NOT NULL,
    fields TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX changes_at ON changes (at);

-- Answers to requests that carried an idempotency key.
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    answer TEXT NOT NULL,
    at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX answers_at ON answers (at);
