-- +goose Up
-- Times are microseconds since 1970. Keys are the upper 63 bits of an ID and sort as it does; rest holds
-- its other 59 bits. NULL is what is usually absent. Text that may hold any byte is bytea.

CREATE SCHEMA IF NOT EXISTS webhook;

CREATE TABLE webhook.migration (version integer PRIMARY KEY);

CREATE TABLE webhook.meta (
	one        boolean PRIMARY KEY DEFAULT true CHECK (one),
	instance   text NOT NULL,   -- tells this database from any other
	generation bigint NOT NULL  -- counts changes of endpoints
);

INSERT INTO webhook.meta (instance, generation) VALUES (gen_random_uuid()::text, 0);

-- How far retention has come: attempts up to this key have lost their detail.
CREATE TABLE webhook.progress (
	one       boolean PRIMARY KEY DEFAULT true CHECK (one),
	pruned_to bigint NOT NULL
);

INSERT INTO webhook.progress (pruned_to) VALUES (0);

CREATE TABLE webhook.endpoint (
	num             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	key             bigint NOT NULL,
	rest            bigint NOT NULL,
	tenant          text COLLATE "C" NOT NULL,
	state           smallint NOT NULL, -- 0 enabled, 1 paused, 2 disabled, 3 deleted
	disabled_reason bytea NOT NULL,
	url             text NOT NULL,
	ordered         boolean NOT NULL,
	config          bytea,
	cancel_pending  text,              -- the code with which Prune cancels what is pending
	released_at     bigint,
	created_at      bigint NOT NULL,
	updated_at      bigint NOT NULL,
	generation      bigint NOT NULL,
	erased          boolean NOT NULL DEFAULT false -- its tenant was erased: kept only to tell other processes
) WITH (fillfactor = 70);

-- Look-up by ID, and the list across tenants.
CREATE UNIQUE INDEX endpoint_key ON webhook.endpoint (key, rest);
-- The list and the statistics of a tenant.
CREATE INDEX endpoint_tenant ON webhook.endpoint (tenant, key, rest);
-- SyncEndpoints.
CREATE INDEX endpoint_generation ON webhook.endpoint (generation);
-- What Prune has to cancel.
CREATE INDEX endpoint_cancel ON webhook.endpoint (num) WHERE cancel_pending IS NOT NULL;

-- What Commit keeps of an endpoint; apart from it, so that results never wait for a change of settings.
CREATE TABLE webhook.health (
	endpoint        bigint PRIMARY KEY,
	failing_since   bigint,
	failures        bigint NOT NULL,
	exhausted       bigint NOT NULL,
	last_success_at bigint,
	last_failure_at bigint
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);

CREATE TABLE webhook.event (
	key             bigint PRIMARY KEY,
	rest            bigint NOT NULL,
	tenant          text COLLATE "C" NOT NULL,
	type            text COLLATE "C" NOT NULL,
	created_at      bigint NOT NULL,
	attributes      text,  -- JSON object
	deliveries      bytea, -- key and rest of each, 16 bytes big-endian; NULL: none
	content_type    text,  -- NULL: application/json
	headers         text,  -- JSON object
	endpoint_ids    text,  -- JSON array
	deliver_at      bigint,
	expires_at      bigint,
	trace_context   text,
	idempotency_key text COLLATE "C",
	fingerprint     bytea,
	erased_at       bigint,
	payload         bytea
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Compressing payloads would cost more than it saves.
ALTER TABLE webhook.event ALTER COLUMN payload SET STORAGE EXTERNAL;

-- Lists.
CREATE INDEX event_tenant ON webhook.event (tenant, key);
CREATE INDEX event_type ON webhook.event (type, key);
CREATE INDEX event_tenant_type ON webhook.event (tenant, type, key);
-- IDs that are two seconds or more off the row's time: none, unless a clock was set. Lists by time look
-- for them here.
CREATE INDEX event_odd ON webhook.event (created_at)
	WHERE (key >> 21) - created_at / 1000 NOT BETWEEN -2000 AND 2000;
-- One event for each key of a tenant.
CREATE UNIQUE INDEX event_idempotency ON webhook.event (tenant, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- Retention of events that matched no endpoint; the others go with their last delivery.
CREATE INDEX event_lonely ON webhook.event (created_at) WHERE deliveries IS NULL;

-- No index holds a column that changes while all goes well, so that the update that ends a delivery
-- writes no index (HOT) and leaves nothing there for vacuum. What may be claimed stands in queue as well. A page
-- has room for a second version of each of its rows, since one commit may end them all.
CREATE TABLE webhook.delivery (
	key          bigint PRIMARY KEY,
	rest         bigint NOT NULL,
	event        bigint NOT NULL,
	endpoint     bigint NOT NULL,
	tenant       text COLLATE "C" NOT NULL,
	type         text COLLATE "C" NOT NULL,
	created_at   bigint NOT NULL,
	updated_at   bigint NOT NULL,
	next_at      bigint,                     -- while pending: claimable from; while leased: the lease's end
	due_at       bigint,                     -- while pending: what views show
	leased_at    bigint,
	lease        bigint NOT NULL DEFAULT 0,
	settled      bigint NOT NULL DEFAULT 0,  -- the last lease that ended without an attempt
	attempts     integer NOT NULL DEFAULT 0,
	failed       integer NOT NULL DEFAULT 0,
	uncharged    integer NOT NULL DEFAULT 0,
	deferrals    integer NOT NULL DEFAULT 0,
	state        smallint NOT NULL DEFAULT 0, -- 0 pending, 1 succeeded, 2 exhausted, 3 gone, 4 canceled, 5 expired
	trigger      smallint NOT NULL DEFAULT 0, -- of the next attempt: 0 initial, 1 automatic, 2 manual, 3 bulk_retry, 4 unpause
	ended_badly  boolean NOT NULL DEFAULT false, -- final, and not succeeded
	queued       boolean NOT NULL DEFAULT false, -- has a row in queue, and is counted if it is pending
	last_at      bigint,                     -- the last attempt
	last_status  integer,
	expires_at   bigint,
	finished_at  bigint,
	owner        text COLLATE "C",           -- of the lease; NULL: free
	bulk         text,                       -- of the next attempt
	last_code    text COLLATE "C",
	last_error   bytea,
	failure_code text COLLATE "C"
) WITH (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05,
	autovacuum_analyze_scale_factor = 0.02);

-- Lists. The second is also the order of ordered endpoints.
CREATE INDEX delivery_tenant ON webhook.delivery (tenant, key);
CREATE INDEX delivery_endpoint ON webhook.delivery (endpoint, key);
CREATE INDEX delivery_type ON webhook.delivery (type, key);
CREATE INDEX delivery_tenant_type ON webhook.delivery (tenant, type, key);
-- As for events.
CREATE INDEX delivery_odd ON webhook.delivery (created_at)
	WHERE (key >> 21) - created_at / 1000 NOT BETWEEN -2000 AND 2000;
-- What failed for good, rare among successes.
CREATE INDEX delivery_failed ON webhook.delivery (key) WHERE ended_badly;
CREATE INDEX delivery_failed_tenant ON webhook.delivery (tenant, key) WHERE ended_badly;
CREATE INDEX delivery_failed_endpoint ON webhook.delivery (endpoint, key) WHERE ended_badly;
-- Lists by error code; a success at once leaves both columns NULL.
CREATE INDEX delivery_last ON webhook.delivery (last_code, key) WHERE last_code IS NOT NULL;
CREATE INDEX delivery_last_tenant ON webhook.delivery (tenant, last_code, key) WHERE last_code IS NOT NULL;
CREATE INDEX delivery_last_endpoint ON webhook.delivery (endpoint, last_code, key) WHERE last_code IS NOT NULL;
CREATE INDEX delivery_end ON webhook.delivery (failure_code, key) WHERE failure_code IS NOT NULL;
CREATE INDEX delivery_end_tenant ON webhook.delivery (tenant, failure_code, key) WHERE failure_code IS NOT NULL;
CREATE INDEX delivery_end_endpoint ON webhook.delivery (endpoint, failure_code, key) WHERE failure_code IS NOT NULL;

-- What is pending, in the order in which it may be claimed; and what was canceled under way, for which
-- an ordered endpoint waits. What was stored for its sender to deliver at once is not here, but in a note, until
-- it comes to something else than a success, or its lease ends. Changed only under the lock of the delivery's row.
-- It is small and stays in memory.
CREATE TABLE webhook.queue (
	endpoint   bigint NOT NULL,
	next_at    bigint NOT NULL,
	key        bigint NOT NULL,
	tenant     text COLLATE "C" NOT NULL,
	leased     boolean NOT NULL,
	over       boolean NOT NULL, -- no longer pending
	expires_at bigint,
	PRIMARY KEY (endpoint, next_at, key)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000,
	autovacuum_vacuum_cost_delay = 0, autovacuum_vacuum_insert_threshold = -1);

-- Expiry; few deliveries have one.
CREATE INDEX queue_expiry ON webhook.queue (expires_at) WHERE expires_at IS NOT NULL;
-- Leases of what was canceled under way, to be forgotten when they end; next to none.
CREATE INDEX queue_over ON webhook.queue (next_at) WHERE over;
-- The list of what a tenant has pending.
CREATE INDEX queue_tenant ON webhook.queue (tenant, key);

-- One row for each endpoint with pending deliveries: what Claim looks at first. Only Claim and changes of
-- endpoints write it; whoever else makes something claimable leaves a note.
CREATE TABLE webhook.head (
	endpoint  bigint PRIMARY KEY,
	next_at   bigint NOT NULL,  -- never later than the earliest next_at that Claim may take, notes aside
	first_key bigint NOT NULL,  -- no pending delivery has a lower key, notes aside
	held      boolean NOT NULL  -- the endpoint is paused, disabled or deleted
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);

-- The due endpoints, longest overdue first.
CREATE INDEX head_next ON webhook.head (next_at, endpoint) WHERE NOT held;

-- Notes say which endpoints have something claimable from when on, and how many deliveries are new. They
-- are only ever inserted, so that nobody waits for anybody: not for a transaction of the user's that stays
-- open, either. Claim enters them into the heads and the counters. The notes of what was handed over to its
-- sender are due when the lease ends, and the sender mostly deletes them before.
CREATE TABLE webhook.note (
	at       bigint NOT NULL,   -- when to enter it; not later than any next_at
	id       bigint GENERATED ALWAYS AS IDENTITY,
	endpoint bigint[] NOT NULL,
	next_at  bigint[] NOT NULL,
	key      bigint[] NOT NULL, -- the lowest of the endpoint's
	fresh    bigint[] NOT NULL, -- new deliveries, to be counted as pending
	handed   bigint[],          -- the keys of deliveries that are not in the queue
	PRIMARY KEY (at, id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
	autovacuum_vacuum_insert_threshold = -1);

CREATE TABLE webhook.attempt (
	key               bigint PRIMARY KEY,
	delivery          bigint NOT NULL,
	lease             bigint NOT NULL,
	endpoint          bigint NOT NULL,
	started_at        bigint NOT NULL,
	completed_at      bigint NOT NULL,
	updated_at        bigint,            -- NULL: not since it was created
	detail_pruned_at  bigint,
	status            smallint NOT NULL, -- 0 succeeded, 1 failed, 2 interrupted, 3 canceled
	tenant            text COLLATE "C" NOT NULL,
	bulk              text,
	error_code        text COLLATE "C",
	body              bytea NOT NULL,    -- what is not searched for, packed (see internal/packed)
	capture           bytea              -- headers and preview, packed
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- Compressing them would cost more than it saves.
ALTER TABLE webhook.attempt ALTER COLUMN capture SET STORAGE EXTERNAL;

-- One attempt for each lease; the attempts of a delivery.
CREATE UNIQUE INDEX attempt_lease ON webhook.attempt (delivery, lease);
-- Lists.
CREATE INDEX attempt_endpoint ON webhook.attempt (endpoint, key);
CREATE INDEX attempt_tenant ON webhook.attempt (tenant, key);
-- Lists of what did not succeed.
CREATE INDEX attempt_status ON webhook.attempt (status, key) WHERE status > 0;
CREATE INDEX attempt_status_tenant ON webhook.attempt (tenant, status, key) WHERE status > 0;
CREATE INDEX attempt_status_endpoint ON webhook.attempt (endpoint, status, key) WHERE status > 0;
CREATE INDEX attempt_code ON webhook.attempt (error_code, key) WHERE error_code IS NOT NULL;
CREATE INDEX attempt_code_tenant ON webhook.attempt (tenant, error_code, key) WHERE error_code IS NOT NULL;
CREATE INDEX attempt_code_endpoint ON webhook.attempt (endpoint, error_code, key) WHERE error_code IS NOT NULL;
-- An ID is made with its delivery or when the attempt ends: here are those that took longer, or were found
-- interrupted.
CREATE INDEX attempt_odd ON webhook.attempt (started_at)
	WHERE (key >> 21) - started_at / 1000 NOT BETWEEN -2000 AND 20000;

-- Counters. Hour 0: deliveries by state. Other hours (microseconds): attempts by result and latency. Each
-- process adds to one shard, so that commits of several do not wait for each other.
CREATE TABLE webhook.stat (
	endpoint bigint NOT NULL,
	hour     bigint NOT NULL,
	kind     smallint NOT NULL, -- hour 0: the state; else the latency bucket, 12 without a response, + 16 if not succeeded
	shard    smallint NOT NULL,
	n        bigint NOT NULL,
	PRIMARY KEY (endpoint, hour, kind, shard)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.1);

-- The processes that deliver.
CREATE TABLE webhook.peer (
	owner   text COLLATE "C" PRIMARY KEY,
	seen_at bigint NOT NULL
) WITH (fillfactor = 50);

-- Bulk retries: few rows.
CREATE TABLE webhook.bulk (
	key         bigint PRIMARY KEY,
	rest        bigint NOT NULL,
	tenant      text COLLATE "C" NOT NULL,
	all_tenants boolean NOT NULL, -- of no tenant in particular
	state       text NOT NULL,
	leased_by   text NOT NULL,    -- '': nobody leads it
	lease_until bigint,
	progress    bytea,            -- query, bounds and counts, in the dispatcher's encoding
	created_at  bigint NOT NULL,
	updated_at  bigint NOT NULL
);

INSERT INTO webhook.migration (version) VALUES (1);
