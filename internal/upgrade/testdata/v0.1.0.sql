SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA webhook;
CREATE TABLE webhook.attempt (
    key bigint NOT NULL,
    rest bigint NOT NULL,
    delivery bigint NOT NULL,
    lease bigint NOT NULL,
    endpoint bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    started_at bigint NOT NULL,
    delivered_at bigint,
    responded_at bigint,
    completed_at bigint NOT NULL,
    duration_ms bigint NOT NULL,
    retry_after_ms bigint,
    next_attempt_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    detail_pruned_at bigint,
    number integer NOT NULL,
    status_code integer,
    resends integer NOT NULL,
    trigger smallint NOT NULL,
    status smallint NOT NULL,
    applied smallint NOT NULL,
    truncated boolean NOT NULL,
    bulk text,
    error_code text COLLATE pg_catalog."C",
    error bytea,
    timings text,
    method text NOT NULL,
    url text NOT NULL,
    remote_addr text,
    request_headers text,
    response_headers text,
    preview bytea
)
WITH (autovacuum_vacuum_insert_scale_factor='0.05');
CREATE TABLE webhook.bulk (
    key bigint NOT NULL,
    rest bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    all_tenants boolean NOT NULL,
    state text NOT NULL,
    leased_by text NOT NULL,
    lease_until bigint,
    progress bytea,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL
);
CREATE TABLE webhook.delivery (
    key bigint NOT NULL,
    rest bigint NOT NULL,
    event bigint NOT NULL,
    endpoint bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    next_at bigint,
    due_at bigint,
    leased_at bigint,
    lease bigint DEFAULT 0 NOT NULL,
    settled bigint DEFAULT 0 NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    failed integer DEFAULT 0 NOT NULL,
    uncharged integer DEFAULT 0 NOT NULL,
    deferrals integer DEFAULT 0 NOT NULL,
    state smallint DEFAULT 0 NOT NULL,
    trigger smallint DEFAULT 0 NOT NULL,
    ended_badly boolean DEFAULT false NOT NULL,
    last_at bigint,
    last_status integer,
    expires_at bigint,
    finished_at bigint,
    owner text COLLATE pg_catalog."C",
    bulk text,
    last_code text COLLATE pg_catalog."C",
    last_error bytea,
    failure_code text COLLATE pg_catalog."C"
)
WITH (fillfactor='45', autovacuum_vacuum_scale_factor='0.05', autovacuum_vacuum_insert_scale_factor='0.05', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE webhook.endpoint (
    num bigint NOT NULL,
    key bigint NOT NULL,
    rest bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    state smallint NOT NULL,
    disabled_reason bytea NOT NULL,
    url text NOT NULL,
    ordered boolean NOT NULL,
    config bytea,
    cancel_pending text,
    released_at bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    generation bigint NOT NULL,
    erased boolean DEFAULT false NOT NULL
)
WITH (fillfactor='70');
ALTER TABLE webhook.endpoint ALTER COLUMN num ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME webhook.endpoint_num_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE webhook.event (
    key bigint NOT NULL,
    rest bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    attributes text,
    deliveries bytea,
    content_type text,
    headers text,
    endpoint_ids text,
    deliver_at bigint,
    expires_at bigint,
    trace_context text,
    idempotency_key text COLLATE pg_catalog."C",
    fingerprint bytea,
    erased_at bigint,
    payload bytea
)
WITH (autovacuum_vacuum_insert_scale_factor='0.05');
ALTER TABLE ONLY webhook.event ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE TABLE webhook.head (
    endpoint bigint NOT NULL,
    next_at bigint NOT NULL,
    first_key bigint NOT NULL,
    held boolean NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.1', autovacuum_vacuum_cost_delay='0');
CREATE TABLE webhook.health (
    endpoint bigint NOT NULL,
    failing_since bigint,
    failures bigint NOT NULL,
    exhausted bigint NOT NULL,
    last_success_at bigint,
    last_failure_at bigint
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.1');
CREATE TABLE webhook.meta (
    one boolean DEFAULT true NOT NULL,
    instance text NOT NULL,
    generation bigint NOT NULL,
    CONSTRAINT meta_one_check CHECK (one)
);
CREATE TABLE webhook.migration (
    version integer NOT NULL
);
CREATE TABLE webhook.note (
    at bigint NOT NULL,
    id bigint NOT NULL,
    endpoint bigint[] NOT NULL,
    next_at bigint[] NOT NULL,
    key bigint[] NOT NULL,
    fresh bigint[] NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='2000', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_threshold='-1');
ALTER TABLE webhook.note ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME webhook.note_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE webhook.peer (
    owner text NOT NULL COLLATE pg_catalog."C",
    seen_at bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE webhook.progress (
    one boolean DEFAULT true NOT NULL,
    pruned_to bigint NOT NULL,
    CONSTRAINT progress_one_check CHECK (one)
);
CREATE TABLE webhook.queue (
    endpoint bigint NOT NULL,
    next_at bigint NOT NULL,
    key bigint NOT NULL,
    tenant text NOT NULL COLLATE pg_catalog."C",
    leased boolean NOT NULL,
    over boolean NOT NULL,
    expires_at bigint
)
WITH (fillfactor='90', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='10000', autovacuum_vacuum_cost_delay='0', autovacuum_vacuum_insert_threshold='-1');
CREATE TABLE webhook.stat (
    endpoint bigint NOT NULL,
    hour bigint NOT NULL,
    kind smallint NOT NULL,
    shard smallint NOT NULL,
    n bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.1');
INSERT INTO webhook.attempt VALUES (3766029844969314227, 4960995979780983, 3766029844182506615, 1, 1, 'acme', 1795782968983373, 1795782968983455, 1795782968983462, 1795782968983470, 0, NULL, NULL, 1795782968983470, 1795782968983470, NULL, 1, 200, 0, 0, 0, 1, false, NULL, NULL, NULL, '[0,0,0,0]', 'POST', 'https://good.example/hook', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,wbJHRRxJJ64sJGJZhR6ORWr1XNvoSmzt8Shnwszgu6Q=","Webhook-Timestamp":"1795782968","X-Shop":"[redacted]","X-Trace":"[redacted]"}', '{"Content-Length":"0"}', '\x');
INSERT INTO webhook.attempt VALUES (3766029844969314228, 417324869725918277, 3766029844182506616, 1, 2, 'acme', 1795782968983522, 1795782968983542, 1795782968983545, 1795782968983558, 0, NULL, 1795782968984558, 1795782968983558, 1795782968983558, NULL, 1, 503, 0, 0, 1, 1, false, NULL, 'BAD_RESPONSE', NULL, '[0,0,0,0]', 'POST', 'https://fails.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,eXl52DPd66N1tmJxgbioOtQk5C8rqcMSEL/nOEBcN24=","Webhook-Timestamp":"1795782968","X-Trace":"[redacted]"}', '{"Content-Length":"15","X-Reason":"full"}', '\x636f6d65206261636b206c61746572');
INSERT INTO webhook.attempt VALUES (3766029844969314229, 425599822401689588, 3766029844182506617, 1, 3, 'acme', 1795782968983567, 1795782968983585, 1795782968983587, 1795782968983591, 0, NULL, 1796537084228796, 1795782968983591, 1795782968983591, NULL, 1, 503, 0, 0, 1, 1, false, NULL, 'BAD_RESPONSE', NULL, '[0,0,0,0]', 'POST', 'https://fails.example/later', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,WHf1++CLXKOL8m6odM/fjInq/PWdLjvp5fGGmC+Zlzo=","Webhook-Timestamp":"1795782968","X-Trace":"[redacted]"}', '{"Content-Length":"15","X-Reason":"full"}', '\x636f6d65206261636b206c61746572');
INSERT INTO webhook.attempt VALUES (3766029844969314230, 357759493007470805, 3766029844182506618, 1, 4, 'acme', 1795782968983598, 1795782968983613, 1795782968983615, 1795782968983617, 0, NULL, NULL, 1795782968983617, 1795782968983617, NULL, 1, 410, 0, 0, 1, 1, false, NULL, 'ENDPOINT_GONE', NULL, '[0,0,0,0]', 'POST', 'https://gone.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,88YZOlfob1ChnNU8ch5mooTa97usHWycV2urih3ctV4=","Webhook-Timestamp":"1795782968","X-Trace":"[redacted]"}', '{"Content-Length":"0"}', '\x');
INSERT INTO webhook.attempt VALUES (3766029844969314231, 311665035316894628, 3766029844182506620, 1, 6, 'acme', 1795782968983622, 1795782968983641, 1795782968983643, 1795782968983645, 0, NULL, NULL, 1795782968983645, 1795782968983645, NULL, 1, 200, 0, 0, 0, 1, false, NULL, NULL, NULL, '[0,0,0,0]', 'POST', 'https://deleted.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,Cz7j9bwaxyn9Z//A4Y1Pifcl5AWLARk/KPO7R8J9ULs=","Webhook-Timestamp":"1795782968","X-Trace":"[redacted]"}', '{"Content-Length":"0"}', '\x');
INSERT INTO webhook.attempt VALUES (3766029845384845914, 58472347129510626, 3766029844182506616, 2, 2, 'acme', 1795782969181757, 1795782969181825, 1795782969181832, 1795782969181844, 0, NULL, NULL, 1795782969181844, 1795782969181844, NULL, 2, 503, 0, 1, 1, 1, false, NULL, 'BAD_RESPONSE', NULL, '[0,0,0,0]', 'POST', 'https://fails.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,5bEDS7fckqXKjWJVybg20AZX7dqQRhzAFmLNP6vFy/E=","Webhook-Timestamp":"1795782969","X-Trace":"[redacted]"}', '{"Content-Length":"15","X-Reason":"full"}', '\x636f6d65206261636b206c61746572');
INSERT INTO webhook.attempt VALUES (3766029845869092224, 152915871533148570, 3766029844182506616, 3, 2, 'acme', 1795782969412536, 1795782969412599, 1795782969412612, 1795782969412621, 0, NULL, 1795782969413621, 1795782969412621, 1795782969412621, NULL, 3, 503, 0, 3, 1, 1, false, 'br_01m8eg31w88texy4n50qh01m4p', 'BAD_RESPONSE', NULL, '[0,0,0,0]', 'POST', 'https://fails.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,5bEDS7fckqXKjWJVybg20AZX7dqQRhzAFmLNP6vFy/E=","Webhook-Timestamp":"1795782969","X-Trace":"[redacted]"}', '{"Content-Length":"15","X-Reason":"full"}', '\x636f6d65206261636b206c61746572');
INSERT INTO webhook.attempt VALUES (3766029845965166807, 235766324994277990, 3766029844182506616, 4, 2, 'acme', 1795782969458178, 1795782969458230, 1795782969458236, 1795782969458244, 0, NULL, NULL, 1795782969458244, 1795782969458244, NULL, 4, 503, 0, 1, 1, 1, false, NULL, 'BAD_RESPONSE', NULL, '[0,0,0,0]', 'POST', 'https://fails.example/', NULL, '{"Content-Length":"16","Content-Type":"application/json","User-Agent":"outhook-webhook/1 (+https://github.com/outhook/webhook)","Webhook-Id":"evt_01m8eg31904khvc8t5grpaehc3","Webhook-Signature":"v1,5bEDS7fckqXKjWJVybg20AZX7dqQRhzAFmLNP6vFy/E=","Webhook-Timestamp":"1795782969","X-Trace":"[redacted]"}', '{"Content-Length":"15","X-Reason":"full"}', '\x636f6d65206261636b206c61746572');
INSERT INTO webhook.bulk VALUES (3766029845474628539, 509651152531411094, 'acme', false, 'done', '01m8eg31247trzcbcc5nbwyrka', 1795782999321792, '\x7b226964223a2262725f30316d386567333177383874657879346e3530716830316d3470222c227175657279223a7b2274656e616e744964223a2261636d65222c22656e64706f696e744964223a2277655f30316d386567333132783974387136343371643464716b646667222c22737461747573223a226661696c6564227d2c227374617465223a22646f6e65222c2272617465223a3130302c226d617463686564223a312c227265717565756564223a312c22736b6970706564223a302c2263616e63656c6564223a302c2264727952756e223a66616c73652c22637265617465644174223a22323032362d31312d32375431323a33363a30392e3232343235365a222c22757064617465644174223a22323032362d31312d32375431323a33363a30392e3333363539315a222c2266696e69736865644174223a22323032362d31312d32375431323a33363a30392e33333635395a222c22626f756e64223a2277645f30316d38656733317738387465783470626661653533666e3137222c22637572736f72223a2277645f30316d38656733313930346b687730673436356b337834687468222c227377657074223a2277645f30316d38656733317738387465783470626661653533666e3137227d', 1795782969224256, 1795782969336591);
INSERT INTO webhook.bulk VALUES (3766029846022015129, 125193345399885078, 'acme', false, 'running', '', NULL, '\x7b226964223a2262725f30316d38656733323464393932636b6636366e77726376333870222c227175657279223a7b2274656e616e744964223a2261636d65222c22656e64706f696e744964223a2277655f30316d386567333132783974387136343371643464716b646667222c22737461747573223a226661696c6564227d2c227374617465223a2272756e6e696e67222c2272617465223a312c226d617463686564223a302c227265717565756564223a302c22736b6970706564223a302c2263616e63656c6564223a302c2264727952756e223a66616c73652c22637265617465644174223a22323032362d31312d32375431323a33363a30392e3438353135365a222c22757064617465644174223a22323032362d31312d32375431323a33363a30392e3438353135365a222c2266696e69736865644174223a6e756c6c2c22626f756e64223a2277645f30316d386567333234643939326364383166676a666d316a6e70222c22637572736f72223a2277645f30316d386567333234643939326364383166676a666d316a6e70222c227377657074223a2277645f30316d386567333234643939326364383166676a666d316a6e70227d', 1795782969485156, 1795782969485156);
INSERT INTO webhook.delivery VALUES (3766029844182506619, 358881425250781810, 3766029844182506614, 5, 'acme', 'order.created', 1795782968608385, 1795782968608563, 1795782968608385, 1795782968608385, NULL, 0, 0, 0, 0, 0, 0, 0, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029844480836800, 528421232953107056, 3766029844480836799, 5, 'acme', 'order.created', 1795782968750670, 1795782968773352, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 4, 0, true, NULL, NULL, NULL, 1795782968773352, NULL, NULL, NULL, NULL, 'CANCELLED');
INSERT INTO webhook.delivery VALUES (3766029844436342037, 239181070365432879, 3766029844436342036, 5, 'acme', 'order.created', 1795782968729799, 1795782969221906, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 4, 0, true, NULL, NULL, NULL, 1795782969221906, NULL, NULL, NULL, NULL, 'DATA_ARCHIVED');
INSERT INTO webhook.delivery VALUES (3766029844698223256, 255668758622475690, 3766029844698223255, 5, 'acme', 'order.created', 1795782968854641, 1795782968873175, NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 5, 0, true, NULL, NULL, 1795782968859637, 1795782968873175, NULL, NULL, NULL, NULL, 'CANCELLED_PAST_RETENTION');
INSERT INTO webhook.delivery VALUES (3766029844182506615, 422026542785221021, 3766029844182506614, 1, 'acme', 'order.created', 1795782968608385, 1795782968986317, NULL, NULL, NULL, 1, 0, 1, 0, 0, 0, 1, 1, false, 1795782968983373, 200, NULL, 1795782968986317, NULL, NULL, NULL, NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029844182506617, 475084191380473293, 3766029844182506614, 3, 'acme', 'order.created', 1795782968608385, 1795782968986317, 1796537084228796, 1796537084228796, NULL, 1, 0, 1, 1, 0, 0, 0, 1, false, 1795782968983567, 503, NULL, NULL, NULL, NULL, 'BAD_RESPONSE', NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029844182506618, 55724164093618508, 3766029844182506614, 4, 'acme', 'order.created', 1795782968608385, 1795782968986317, NULL, NULL, NULL, 1, 0, 1, 1, 0, 0, 3, 1, true, 1795782968983598, 410, NULL, 1795782968986317, NULL, NULL, 'ENDPOINT_GONE', NULL, 'ENDPOINT_GONE');
INSERT INTO webhook.delivery VALUES (3766029844182506620, 444463830184632951, 3766029844182506614, 6, 'acme', 'order.created', 1795782968608385, 1795782968986317, NULL, NULL, NULL, 1, 0, 1, 0, 0, 0, 1, 1, false, 1795782968983622, 200, NULL, 1795782968986317, NULL, NULL, NULL, NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029844182506616, 18161925398611793, 3766029844182506614, 2, 'acme', 'order.created', 1795782968608385, 1795782969460273, NULL, NULL, NULL, 4, 0, 4, 2, 0, 0, 2, 1, true, 1795782969458178, 503, NULL, 1795782969460273, NULL, NULL, 'BAD_RESPONSE', NULL, 'BAD_RESPONSE');
INSERT INTO webhook.delivery VALUES (3766029846030833065, 361361154099066297, 3766029846030833064, 7, 'acme', 'order.created', 1795782969489130, 1795782969489150, 1821702969489127, 1821702969489127, NULL, 0, 0, 0, 0, 0, 0, 0, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029846036668932, 559259204683490521, 3766029846036668931, 8, 'acme', 'order.created', 1795782969492639, 1795782969500439, 1795782970500439, 1795782969492639, 1795782969500439, 1, 0, 0, 0, 0, 0, 0, 0, false, NULL, NULL, NULL, NULL, 'killed', NULL, NULL, NULL, NULL);
INSERT INTO webhook.delivery VALUES (3766029846105660369, 66382799285640386, 3766029846105660368, 8, 'acme', 'order.created', 1795782969525239, 1795782969525341, 1795782969525239, 1795782969525239, NULL, 0, 0, 0, 0, 0, 0, 0, 0, false, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (1, 3766029843721344575, 319412272763942894, 'acme', 0, '\x', 'https://good.example/hook', false, '\x7b226465736372697074696f6e223a227468652074696c6c222c226576656e745479706573223a5b226f726465722e2a225d2c226d61746368223a7b22726567696f6e223a226575227d2c226d6574686f64223a22504f5354222c22726174654c696d6974223a3130302c226d6178496e466c69676874223a332c226d65746164617461223a7b22706c616e223a22676f6c64227d2c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f59627144794e68447a7744654730425556507544395763473350417a4b4c4e64383252684a5650464e49303d5c227d5d2c5c22686561646572735c223a7b5c22582d53686f705c223a5c22375c227d7d227d', NULL, NULL, 1795782968388623, 1795782968388623, 1, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (2, 3766029843773903406, 220807675057386992, 'acme', 0, '\x', 'https://fails.example/', true, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f62486748764743683946374936754170613730675579346a7a76692f3749727531774c6a557956505a4b413d5c227d5d7d227d', NULL, NULL, 1795782968413900, 1795782968413900, 2, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (3, 3766029843832731837, 404361597744611964, 'acme', 0, '\x', 'https://fails.example/later', false, '\x7b226d6574686f64223a22504f5354222c227265747279223a5b3836343030303030303030303030305d2c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f3538413565474856374b6a6332356b6830365133533745305369595137797a7372506746444a454e4758453d5c227d5d7d227d', NULL, NULL, 1795782968441463, 1795782968441463, 3, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (7, 3766029843915996881, 183256427076215845, 'acme', 0, '\x', 'https://later.example/', false, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f63325230774d33592b7638613634467067304c4a5a68337336366379726d3958347954315a66614775726b3d5c227d5d7d227d', NULL, NULL, 1795782968481565, 1795782968481565, 7, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (8, 3766029843960204898, 87696750079010099, 'acme', 0, '\x', 'https://queued.example/', false, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f36634e6d7332727368364a2b76536d6457494b6937575a744350526c315956646968317576764a48556d733d5c227d5d7d227d', NULL, NULL, 1795782968502156, 1795782968502156, 8, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (5, 3766029843866421870, 255255609160045021, 'acme', 1, '\x', 'https://paused.example/', false, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f43694f4e4e58536367693479325162534656382b336d303045476a544145514a73746d33694c38536d596f3d5c227d2c7b5c2276616c75655c223a5c2277687365635f4d667a795573506d795730394c6f4d616d366f3133417670537265784a536d4d313575494337345a78534d3d5c222c5c226578706972657341745c223a5c22323032372d30392d32335431323a33363a30382e3530363332345a5c227d5d7d227d', NULL, NULL, 1795782968457642, 1795782968536912, 10, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (4, 3766029843855181403, 172438245669642436, 'acme', 2, '\x74686520726563656976657220616e7377657265642034313020476f6e65', 'https://gone.example/', false, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f42342b464d634f6b612b4244524c517542424359673541456e6c6477794b53356d2f7872566b444877566f3d5c227d5d7d227d', NULL, NULL, 1795782968452168, 1795782969089967, 11, false);
INSERT INTO webhook.endpoint OVERRIDING SYSTEM VALUE VALUES (6, 3766029843884900213, 352533976516895608, 'acme', 3, '\x', 'https://deleted.example/', false, '\x7b226d6574686f64223a22504f5354222c2263726564656e7469616c73223a227b5c22736563726574735c223a5b7b5c2276616c75655c223a5c2277687365635f6f5865596e64444a74625a74693943762f42673975556a6b3865762b59566d6d344c4941555a62344c67413d5c227d5d7d227d', 'MISSING_URL', NULL, 1795782968466908, 1795782969198814, 12, false);
INSERT INTO webhook.event VALUES (3766029844182506614, 442273630989534595, 'acme', 'order.created', 1795782968608385, '{"region":"eu"}', '\x3443a030a4049c7705db56e7987fd19d3443a030a4049c780040862cc7d247513443a030a4049c790697d68e11a305cd3443a030a4049c7a00c5f8d4fe34a94c3443a030a4049c7b04fb00c13c8f0a723443a030a4049c7c062b0d7fa9aa2277', NULL, '{"X-Trace":"1"}', '["we_01m8eg31247trzrvp7rm7fxdze","we_01m8eg312x9t8q643qd4dqkdfg","we_01m8eg313sbf2yv74mqc9610kw","we_01m8eg314420sdms4znexd9864","we_01m8eg3149dh9q72pskz3ej4ex","we_01m8eg314j7fxtss3ks2mrq8vr"]', NULL, NULL, NULL, 'all', '\xec8f31af5c8a6c8e703c26f48edeaa0797968085839cbf57641c16c48127a986', NULL, '\x7b226f72646572223a2022616c6c227d');
INSERT INTO webhook.event VALUES (3766029844480836799, 255281273533573441, 'acme', 'order.created', 1795782968750670, NULL, '\x3443a030b5ccc4c00755544fc9f1a270', NULL, NULL, '["we_01m8eg3149dh9q72pskz3ej4ex"]', NULL, NULL, NULL, 'canceled', '\xab3b2ac7a1c6cb45a4325dfea966bfd7ccd823f05a97ed3685bf2fd2b0732ce0', NULL, '\x7b226f72646572223a202263616e63656c6564227d');
INSERT INTO webhook.event VALUES (3766029844698223255, 421605913538247671, 'acme', 'order.created', 1795782968854641, NULL, '\x3443a030c2c1d298038c5161a1db95aa', NULL, NULL, '["we_01m8eg3149dh9q72pskz3ej4ex"]', NULL, 1795782968859637, NULL, 'expired', '\xf1add497986b00283b073b53cc01e8d46776caf708d082d3c815d7481081b2e8', NULL, '\x7b226f72646572223a202265787069726564227d');
INSERT INTO webhook.event VALUES (3766029844436342036, 481911506743400078, 'acme', 'order.created', 1795782968729799, NULL, '\x3443a030b325d5150351bdea90211c2f', NULL, NULL, '["we_01m8eg3149dh9q72pskz3ej4ex"]', NULL, NULL, NULL, 'erased', '\x7704985ccc40dd38cda5ff1b1e712a816b3573d8f0e5d79abb86504bea07c5ce', 1795782969221906, NULL);
INSERT INTO webhook.event VALUES (3766029846030833064, 430024167582013332, 'acme', 'order.created', 1795782969489130, NULL, '\x3443a031122fd5a90503d00e19b335b9', NULL, NULL, '["we_01m8eg31511zv8n2reqzfays15"]', 1821702969489127, NULL, NULL, 'later', '\xb46b56f84bd72e04c06dca62d9df7ad82fc2359cda96e581410a8c1a70615497', NULL, '\x7b226f72646572223a20226c61746572227d');
INSERT INTO webhook.event VALUES (3766029846036668931, 130621395728425244, 'acme', 'order.created', 1795782969492639, NULL, '\x3443a0311288e20407c2e3489886e4d9', NULL, NULL, '["we_01m8eg315p4hsh2dwfqb26ms9k"]', NULL, NULL, NULL, 'sending', '\x44bad148e90dfaf9ad3150ccd4b5158ccc8037e46fe234e235015e18bb30f9cd', NULL, '\x7b226f72646572223a202273656e64696e67227d');
INSERT INTO webhook.event VALUES (3766029846105660368, 191093812218415958, 'acme', 'order.created', 1795782969525239, NULL, '\x3443a03116a59bd100ebd6cde29ddcc2', NULL, NULL, '["we_01m8eg315p4hsh2dwfqb26ms9k"]', NULL, NULL, NULL, 'queued', '\xcf4d5b164a9399c7e7bd4298b3c1dade2259ba4eaa88dfa8a1c4e5bbb6c372e9', NULL, '\x7b226f72646572223a2022717565756564227d');
INSERT INTO webhook.head VALUES (1, 1795782998873134, 3766029844182506615, false);
INSERT INTO webhook.head VALUES (3, 1795782998873134, 3766029844182506617, false);
INSERT INTO webhook.head VALUES (5, 0, 3766029844182506619, true);
INSERT INTO webhook.head VALUES (4, 1795782998873134, 3766029844182506618, true);
INSERT INTO webhook.head VALUES (6, 1795782998873134, 3766029844182506620, true);
INSERT INTO webhook.head VALUES (2, 1795782999438412, 3766029844182506616, false);
INSERT INTO webhook.head VALUES (8, 1795782970500439, 3766029846036668932, false);
INSERT INTO webhook.health VALUES (5, NULL, 0, 0, NULL, NULL);
INSERT INTO webhook.health VALUES (7, NULL, 0, 0, NULL, NULL);
INSERT INTO webhook.health VALUES (8, NULL, 0, 0, NULL, NULL);
INSERT INTO webhook.health VALUES (1, NULL, 0, 0, 1795782960000000, NULL);
INSERT INTO webhook.health VALUES (3, 1795782968983567, 1, 0, NULL, 1795782968983591);
INSERT INTO webhook.health VALUES (4, 1795782968983598, 1, 0, NULL, 1795782968983617);
INSERT INTO webhook.health VALUES (6, NULL, 0, 0, 1795782960000000, NULL);
INSERT INTO webhook.health VALUES (2, 1795782968983522, 4, 2, NULL, 1795782969458244);
INSERT INTO webhook.meta VALUES (true, 'dec9b80c-e1cc-4b6b-b36d-b9212d137ce9', 12);
INSERT INTO webhook.migration VALUES (1);
INSERT INTO webhook.note OVERRIDING SYSTEM VALUE VALUES (1795782999000000, 13, '{7}', '{1821702969489127}', '{3766029846030833065}', '{1}');
INSERT INTO webhook.note OVERRIDING SYSTEM VALUE VALUES (1795782969525239, 15, '{8}', '{1795782969525239}', '{3766029846105660369}', '{1}');
INSERT INTO webhook.progress VALUES (true, 0);
INSERT INTO webhook.queue VALUES (5, 1795782968608385, 3766029844182506619, 'acme', false, false, NULL);
INSERT INTO webhook.queue VALUES (3, 1796537084228796, 3766029844182506617, 'acme', false, false, NULL);
INSERT INTO webhook.queue VALUES (7, 1821702969489127, 3766029846030833065, 'acme', false, false, NULL);
INSERT INTO webhook.queue VALUES (8, 1795782970500439, 3766029846036668932, 'acme', true, false, NULL);
INSERT INTO webhook.queue VALUES (8, 1795782969525239, 3766029846105660369, 'acme', false, false, NULL);
INSERT INTO webhook.stat VALUES (3, 0, 0, 13, 1);
INSERT INTO webhook.stat VALUES (5, 0, 5, 13, 1);
INSERT INTO webhook.stat VALUES (1, 0, 0, 13, 0);
INSERT INTO webhook.stat VALUES (1, 0, 1, 13, 1);
INSERT INTO webhook.stat VALUES (1, 1795780800000000, 0, 13, 1);
INSERT INTO webhook.stat VALUES (3, 1795780800000000, 16, 13, 1);
INSERT INTO webhook.stat VALUES (4, 0, 0, 13, 0);
INSERT INTO webhook.stat VALUES (4, 0, 3, 13, 1);
INSERT INTO webhook.stat VALUES (4, 1795780800000000, 16, 13, 1);
INSERT INTO webhook.stat VALUES (6, 0, 0, 13, 0);
INSERT INTO webhook.stat VALUES (6, 0, 1, 13, 1);
INSERT INTO webhook.stat VALUES (6, 1795780800000000, 0, 13, 1);
INSERT INTO webhook.stat VALUES (5, 0, 0, 13, 1);
INSERT INTO webhook.stat VALUES (5, 0, 4, 13, 2);
INSERT INTO webhook.stat VALUES (2, 0, 0, 13, 0);
INSERT INTO webhook.stat VALUES (2, 0, 2, 13, 1);
INSERT INTO webhook.stat VALUES (2, 1795780800000000, 16, 13, 4);
INSERT INTO webhook.stat VALUES (8, 0, 0, 13, 1);
SELECT pg_catalog.setval('webhook.endpoint_num_seq', 8, true);
SELECT pg_catalog.setval('webhook.note_id_seq', 15, true);
ALTER TABLE ONLY webhook.attempt
    ADD CONSTRAINT attempt_pkey PRIMARY KEY (key);
ALTER TABLE ONLY webhook.bulk
    ADD CONSTRAINT bulk_pkey PRIMARY KEY (key);
ALTER TABLE ONLY webhook.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (key);
ALTER TABLE ONLY webhook.endpoint
    ADD CONSTRAINT endpoint_pkey PRIMARY KEY (num);
ALTER TABLE ONLY webhook.event
    ADD CONSTRAINT event_pkey PRIMARY KEY (key);
ALTER TABLE ONLY webhook.head
    ADD CONSTRAINT head_pkey PRIMARY KEY (endpoint);
ALTER TABLE ONLY webhook.health
    ADD CONSTRAINT health_pkey PRIMARY KEY (endpoint);
ALTER TABLE ONLY webhook.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (one);
ALTER TABLE ONLY webhook.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (version);
ALTER TABLE ONLY webhook.note
    ADD CONSTRAINT note_pkey PRIMARY KEY (at, id);
ALTER TABLE ONLY webhook.peer
    ADD CONSTRAINT peer_pkey PRIMARY KEY (owner);
ALTER TABLE ONLY webhook.progress
    ADD CONSTRAINT progress_pkey PRIMARY KEY (one);
ALTER TABLE ONLY webhook.queue
    ADD CONSTRAINT queue_pkey PRIMARY KEY (endpoint, next_at, key);
ALTER TABLE ONLY webhook.stat
    ADD CONSTRAINT stat_pkey PRIMARY KEY (endpoint, hour, kind, shard);
CREATE INDEX attempt_code ON webhook.attempt USING btree (error_code, key) WHERE (error_code IS NOT NULL);
CREATE INDEX attempt_code_endpoint ON webhook.attempt USING btree (endpoint, error_code, key) WHERE (error_code IS NOT NULL);
CREATE INDEX attempt_code_tenant ON webhook.attempt USING btree (tenant, error_code, key) WHERE (error_code IS NOT NULL);
CREATE INDEX attempt_endpoint ON webhook.attempt USING btree (endpoint, key);
CREATE UNIQUE INDEX attempt_lease ON webhook.attempt USING btree (delivery, lease);
CREATE INDEX attempt_status ON webhook.attempt USING btree (status, key) WHERE (status > 0);
CREATE INDEX attempt_status_endpoint ON webhook.attempt USING btree (endpoint, status, key) WHERE (status > 0);
CREATE INDEX attempt_status_tenant ON webhook.attempt USING btree (tenant, status, key) WHERE (status > 0);
CREATE INDEX attempt_tenant ON webhook.attempt USING btree (tenant, key);
CREATE INDEX delivery_end ON webhook.delivery USING btree (failure_code, key) WHERE (failure_code IS NOT NULL);
CREATE INDEX delivery_end_endpoint ON webhook.delivery USING btree (endpoint, failure_code, key) WHERE (failure_code IS NOT NULL);
CREATE INDEX delivery_end_tenant ON webhook.delivery USING btree (tenant, failure_code, key) WHERE (failure_code IS NOT NULL);
CREATE INDEX delivery_endpoint ON webhook.delivery USING btree (endpoint, key);
CREATE INDEX delivery_failed ON webhook.delivery USING btree (key) WHERE ended_badly;
CREATE INDEX delivery_failed_endpoint ON webhook.delivery USING btree (endpoint, key) WHERE ended_badly;
CREATE INDEX delivery_failed_tenant ON webhook.delivery USING btree (tenant, key) WHERE ended_badly;
CREATE INDEX delivery_last ON webhook.delivery USING btree (last_code, key) WHERE (last_code IS NOT NULL);
CREATE INDEX delivery_last_endpoint ON webhook.delivery USING btree (endpoint, last_code, key) WHERE (last_code IS NOT NULL);
CREATE INDEX delivery_last_tenant ON webhook.delivery USING btree (tenant, last_code, key) WHERE (last_code IS NOT NULL);
CREATE INDEX delivery_tenant ON webhook.delivery USING btree (tenant, key);
CREATE INDEX delivery_tenant_type ON webhook.delivery USING btree (tenant, type, key);
CREATE INDEX delivery_type ON webhook.delivery USING btree (type, key);
CREATE INDEX endpoint_cancel ON webhook.endpoint USING btree (num) WHERE (cancel_pending IS NOT NULL);
CREATE INDEX endpoint_generation ON webhook.endpoint USING btree (generation);
CREATE UNIQUE INDEX endpoint_key ON webhook.endpoint USING btree (key, rest);
CREATE INDEX endpoint_tenant ON webhook.endpoint USING btree (tenant, key, rest);
CREATE UNIQUE INDEX event_idempotency ON webhook.event USING btree (tenant, idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE INDEX event_lonely ON webhook.event USING btree (created_at) WHERE (deliveries IS NULL);
CREATE INDEX event_tenant ON webhook.event USING btree (tenant, key);
CREATE INDEX event_tenant_type ON webhook.event USING btree (tenant, type, key);
CREATE INDEX event_type ON webhook.event USING btree (type, key);
CREATE INDEX head_next ON webhook.head USING btree (next_at, endpoint) WHERE (NOT held);
CREATE INDEX queue_expiry ON webhook.queue USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX queue_over ON webhook.queue USING btree (next_at) WHERE over;
CREATE INDEX queue_tenant ON webhook.queue USING btree (tenant, key);
