-- Times are microseconds since 1970. Keys are the upper 63 bits of an ID and sort as it does; rest holds
-- its other 59 bits. NULL is what is usually absent.
--
-- An index ends in the row's key by itself where the key is the primary key: (tenant) is the list of a
-- tenant in the order of IDs. docs/queries.md says what each index is for and what it costs.

CREATE TABLE webhook_meta (
	name  TEXT PRIMARY KEY,
	value ANY NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO webhook_meta (name, value) VALUES
	('generation', 0),                       -- counts changes of endpoints
	('pruned_to', 0),                        -- attempts up to this key have lost their detail
	('instance', lower(hex(randomblob(16)))) -- tells this database from any other
;

-- Tenants, event types, error codes, owners of leases and bulk retries, each written once.
CREATE TABLE webhook_name (
	num  INTEGER PRIMARY KEY,
	text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE webhook_endpoint (
	num             INTEGER PRIMARY KEY,
	key             INTEGER NOT NULL,
	rest            INTEGER NOT NULL,
	tenant          INTEGER NOT NULL,
	state           INTEGER NOT NULL, -- 0 enabled, 1 paused, 2 disabled, 3 deleted
	disabled_reason TEXT NOT NULL,
	url             TEXT NOT NULL,
	ordered         INTEGER NOT NULL,
	config          BLOB,
	cancel_pending  TEXT,             -- the code with which Prune cancels what is pending
	released_at     INTEGER,
	failing_since   INTEGER,
	failures        INTEGER NOT NULL,
	exhausted       INTEGER NOT NULL,
	last_success_at INTEGER,
	last_failure_at INTEGER,
	created_at      INTEGER NOT NULL,
	updated_at      INTEGER NOT NULL,
	generation      INTEGER NOT NULL,
	erased          INTEGER NOT NULL DEFAULT 0 -- its tenant was erased: kept only to tell other processes
) STRICT;

-- Look-up by ID, and the list across tenants.
CREATE UNIQUE INDEX webhook_endpoint_key ON webhook_endpoint (key, rest);
-- The list and the statistics of a tenant.
CREATE INDEX webhook_endpoint_tenant ON webhook_endpoint (tenant, key, rest);
-- SyncEndpoints.
CREATE INDEX webhook_endpoint_generation ON webhook_endpoint (generation);
-- What Prune has to cancel.
CREATE INDEX webhook_endpoint_cancel ON webhook_endpoint (num) WHERE cancel_pending IS NOT NULL;
-- What Stats counts as held: few, as a rule.
CREATE INDEX webhook_endpoint_held ON webhook_endpoint (tenant) WHERE state IN (1, 2);

-- One row for each endpoint with pending deliveries: what Claim looks at first.
CREATE TABLE webhook_head (
	endpoint  INTEGER PRIMARY KEY,
	next_at   INTEGER NOT NULL, -- never later than the earliest next_at that Claim may take
	held      INTEGER NOT NULL, -- 1 while the endpoint is paused, disabled or deleted
	first_key INTEGER           -- of ordered endpoints: no pending delivery has a lower key
) STRICT;

-- The due endpoints, longest overdue first.
CREATE INDEX webhook_head_next ON webhook_head (next_at) WHERE held = 0;

CREATE TABLE webhook_event (
	key             INTEGER PRIMARY KEY,
	rest            INTEGER NOT NULL,
	tenant          INTEGER NOT NULL,
	type            INTEGER NOT NULL,
	created_at      INTEGER NOT NULL,
	attributes      TEXT,    -- JSON object
	deliveries      BLOB,    -- key and rest of each, 16 bytes big-endian; NULL: none
	content_type    TEXT,    -- NULL: application/json
	headers         TEXT,    -- JSON object
	endpoint_ids    TEXT,    -- JSON array
	deliver_at      INTEGER,
	expires_at      INTEGER,
	trace_context   TEXT,
	idempotency_key TEXT,
	fingerprint     BLOB,
	erased_at       INTEGER,
	payload         BLOB     -- last, so that lists do not read over it
) STRICT;

-- Lists of events; and of deliveries, which are found through their events: one event often has many, and
-- what matched no endpoint stands apart, so that nobody walks past it.
CREATE INDEX webhook_event_tenant ON webhook_event (tenant, deliveries IS NULL);
CREATE INDEX webhook_event_type ON webhook_event (type, deliveries IS NULL);
CREATE INDEX webhook_event_tenant_type ON webhook_event (tenant, type, deliveries IS NULL);
-- IDs that are two seconds or more off the row's time: none, unless a clock was set. Lists by time look
-- for them here.
CREATE INDEX webhook_event_odd ON webhook_event (created_at)
	WHERE (key >> 21) - created_at / 1000 NOT BETWEEN -2000 AND 2000;
-- One event for each key of a tenant.
CREATE UNIQUE INDEX webhook_event_idempotency ON webhook_event (tenant, idempotency_key)
	WHERE idempotency_key IS NOT NULL;
-- Retention of events that matched no endpoint; the others go with their last delivery.
CREATE INDEX webhook_event_lonely ON webhook_event (created_at) WHERE deliveries IS NULL;

CREATE TABLE webhook_delivery (
	key          INTEGER PRIMARY KEY,
	rest         INTEGER NOT NULL,
	event        INTEGER NOT NULL,
	endpoint     INTEGER NOT NULL,
	tenant       INTEGER NOT NULL,
	type         INTEGER NOT NULL,
	state        INTEGER NOT NULL DEFAULT 0, -- 0 pending, 1 succeeded, 2 exhausted, 3 gone, 4 canceled, 5 expired
	next_at      INTEGER,                    -- while pending: claimable from; while leased: the lease's end
	due_at       INTEGER,                    -- while pending: what views show
	owner        INTEGER,                    -- of the lease; NULL: free
	leased_at    INTEGER,
	lease        INTEGER NOT NULL DEFAULT 0,
	settled      INTEGER NOT NULL DEFAULT 0, -- the last lease that ended without an attempt
	attempts     INTEGER NOT NULL DEFAULT 0,
	failed       INTEGER NOT NULL DEFAULT 0,
	uncharged    INTEGER NOT NULL DEFAULT 0,
	deferrals    INTEGER NOT NULL DEFAULT 0,
	trigger      INTEGER NOT NULL DEFAULT 0, -- of the next attempt: 0 initial, 1 automatic, 2 manual, 3 bulk_retry, 4 unpause
	bulk         INTEGER,                    -- of the next attempt
	last_at      INTEGER,                    -- the last attempt
	last_status  INTEGER,
	last_code    INTEGER,
	last_error   TEXT,
	failure_code INTEGER,
	expires_at   INTEGER,
	created_at   INTEGER NOT NULL,
	updated_at   INTEGER NOT NULL,
	finished_at  INTEGER,
	own          INTEGER NOT NULL DEFAULT 0  -- 1: the attempt with its key is one of its own
) STRICT;

-- The queue. A finished delivery is not in it, nor one that was handed over.
CREATE INDEX webhook_delivery_pending ON webhook_delivery (endpoint, next_at) WHERE state = 0;
-- Expiry; few deliveries have one.
CREATE INDEX webhook_delivery_expiry ON webhook_delivery (expires_at) WHERE state = 0 AND expires_at IS NOT NULL;
-- Deliveries canceled under way, for which an ordered endpoint waits; next to none.
CREATE INDEX webhook_delivery_late ON webhook_delivery (endpoint, next_at) WHERE state > 0 AND owner IS NOT NULL;
-- The list of an endpoint, and the order of ordered endpoints, in two: those with an attempt of their key are
-- in the list of the endpoint's attempts as well.
CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint) WHERE own = 0;
CREATE INDEX webhook_delivery_own ON webhook_delivery (endpoint) WHERE own = 1;
-- What is not found through its event, because its ID was made a tenth of a second or more later: replays.
CREATE INDEX webhook_delivery_apart ON webhook_delivery (key)
	WHERE key NOT BETWEEN event AND event + 209715200;
CREATE INDEX webhook_delivery_apart_tenant ON webhook_delivery (tenant)
	WHERE key NOT BETWEEN event AND event + 209715200;
CREATE INDEX webhook_delivery_apart_type ON webhook_delivery (type)
	WHERE key NOT BETWEEN event AND event + 209715200;
-- As for events.
CREATE INDEX webhook_delivery_odd ON webhook_delivery (created_at)
	WHERE (key >> 21) - created_at / 1000 NOT BETWEEN -2000 AND 2000;
-- Lists of what is pending. What succeeds at once is not in them.
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (key) WHERE state = 0;
CREATE INDEX webhook_delivery_waiting_tenant ON webhook_delivery (tenant) WHERE state = 0;
CREATE INDEX webhook_delivery_waiting_endpoint ON webhook_delivery (endpoint) WHERE state = 0;
-- Lists of what failed for good, rare among successes.
CREATE INDEX webhook_delivery_failed ON webhook_delivery (key) WHERE state >= 2;
CREATE INDEX webhook_delivery_failed_tenant ON webhook_delivery (tenant) WHERE state >= 2;
CREATE INDEX webhook_delivery_failed_endpoint ON webhook_delivery (endpoint) WHERE state >= 2;
-- Lists by error code: of the last attempt, and of the end where it is another. A success has neither.
CREATE INDEX webhook_delivery_last ON webhook_delivery (last_code) WHERE last_code IS NOT NULL;
CREATE INDEX webhook_delivery_last_tenant ON webhook_delivery (tenant, last_code) WHERE last_code IS NOT NULL;
CREATE INDEX webhook_delivery_last_endpoint ON webhook_delivery (endpoint, last_code) WHERE last_code IS NOT NULL;
CREATE INDEX webhook_delivery_end ON webhook_delivery (failure_code)
	WHERE failure_code IS NOT NULL AND last_code IS NOT failure_code;
CREATE INDEX webhook_delivery_end_tenant ON webhook_delivery (tenant, failure_code)
	WHERE failure_code IS NOT NULL AND last_code IS NOT failure_code;
CREATE INDEX webhook_delivery_end_endpoint ON webhook_delivery (endpoint, failure_code)
	WHERE failure_code IS NOT NULL AND last_code IS NOT failure_code;

-- Deliveries that were handed over to their sender as they were stored, those of a commit in a row. They
-- get rows of their own when something becomes of them, and the row goes when all have.
CREATE TABLE webhook_handed (
	key       INTEGER PRIMARY KEY, -- of the first delivery
	last      INTEGER NOT NULL,    -- key of the last
	owner     INTEGER NOT NULL,
	leased_at INTEGER NOT NULL,
	until     INTEGER NOT NULL,    -- the first of their leases ends
	list      BLOB NOT NULL        -- packed
) STRICT;

-- The attempt that a handed over delivery begins with has the key of its delivery, and is found by that.
CREATE TABLE webhook_attempt (
	key              INTEGER PRIMARY KEY,
	delivery         INTEGER NOT NULL,
	lease            INTEGER NOT NULL,
	endpoint         INTEGER NOT NULL,
	tenant           INTEGER NOT NULL,
	status           INTEGER NOT NULL, -- 0 succeeded, 1 failed, 2 interrupted, 3 canceled
	error_code       INTEGER,
	started_at       INTEGER NOT NULL,
	completed_at     INTEGER NOT NULL,
	updated_at       INTEGER,          -- NULL: not since it was created
	detail_pruned_at INTEGER,
	body             BLOB NOT NULL,    -- what is not searched for, packed
	capture          BLOB              -- headers and preview, packed
) STRICT;

-- One attempt for each lease; the attempts of a delivery.
CREATE UNIQUE INDEX webhook_attempt_lease ON webhook_attempt (delivery, lease) WHERE key <> delivery;
-- Lists.
CREATE INDEX webhook_attempt_endpoint ON webhook_attempt (endpoint) WHERE key <> delivery;
CREATE INDEX webhook_attempt_tenant ON webhook_attempt (tenant) WHERE key <> delivery;
-- Lists of what did not succeed.
CREATE INDEX webhook_attempt_status ON webhook_attempt (status) WHERE status > 0;
CREATE INDEX webhook_attempt_status_tenant ON webhook_attempt (tenant, status) WHERE status > 0;
CREATE INDEX webhook_attempt_status_endpoint ON webhook_attempt (endpoint, status) WHERE status > 0;
CREATE INDEX webhook_attempt_code ON webhook_attempt (error_code) WHERE error_code IS NOT NULL;
CREATE INDEX webhook_attempt_code_tenant ON webhook_attempt (tenant, error_code) WHERE error_code IS NOT NULL;
CREATE INDEX webhook_attempt_code_endpoint ON webhook_attempt (endpoint, error_code) WHERE error_code IS NOT NULL;
-- An ID is made with its delivery or when the attempt ends: here are those that took longer, or were found
-- interrupted.
CREATE INDEX webhook_attempt_odd ON webhook_attempt (started_at)
	WHERE (key >> 21) - started_at / 1000 NOT BETWEEN -2000 AND 20000;

-- Counters. Hour 0: deliveries by state. Other hours (microseconds): attempts by result and latency.
CREATE TABLE webhook_stat (
	endpoint INTEGER NOT NULL, -- 0: the sum of all; negative: the sum of a tenant, its number negated
	hour     INTEGER NOT NULL,
	kind     INTEGER NOT NULL, -- hour 0: the state; else the latency bucket, 12 without a response, + 16 if not succeeded
	n        INTEGER NOT NULL,
	PRIMARY KEY (endpoint, hour, kind)
) STRICT, WITHOUT ROWID;

-- Bulk retries: few rows.
CREATE TABLE webhook_bulk (
	key         INTEGER PRIMARY KEY,
	rest        INTEGER NOT NULL,
	tenant      INTEGER NOT NULL,
	all_tenants INTEGER NOT NULL, -- 1: of no tenant in particular
	state       TEXT NOT NULL,
	leased_by   TEXT NOT NULL,    -- '': nobody leads it
	lease_until INTEGER,
	progress    BLOB,             -- query, bounds and counts, in the dispatcher's encoding
	created_at  INTEGER NOT NULL,
	updated_at  INTEGER NOT NULL
) STRICT;
